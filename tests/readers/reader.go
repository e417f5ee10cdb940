// Reads every entry; prints how many there are, and how many bytes they have.
package main

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
)

func main() {
	archive, err := zip.OpenReader(os.Args[1])
	fail(err)
	var bytes int64
	for _, file := range archive.File {
		in, err := file.Open()
		fail(err)
		n, err := io.Copy(io.Discard, in)
		fail(err)
		bytes += n
	}
	fmt.Println(len(archive.File), bytes)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
