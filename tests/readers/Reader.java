import java.io.BufferedInputStream;
import java.io.FileInputStream;
import java.io.InputStream;
import java.util.zip.ZipFile;
import java.util.zip.ZipInputStream;

/** Reads every entry; prints how many there are, and how many bytes they have. */
public class Reader {
    public static void main(String[] args) throws Exception {
        long entries = 0;
        long bytes = 0;
        if (args[0].equals("file")) {
            try (ZipFile zip = new ZipFile(args[1])) {
                for (var all = zip.entries(); all.hasMoreElements(); entries++) {
                    try (InputStream in = zip.getInputStream(all.nextElement())) {
                        bytes += drain(in);
                    }
                }
            }
        } else {
            var in = new BufferedInputStream(new FileInputStream(args[1]), 1 << 20);
            try (ZipInputStream zip = new ZipInputStream(in)) {
                for (; zip.getNextEntry() != null; entries++) {
                    bytes += drain(zip);
                }
            }
        }
        System.out.println(entries + " " + bytes);
    }

    static long drain(InputStream in) throws Exception {
        byte[] buffer = new byte[1 << 20];
        long sum = 0;
        for (int n; (n = in.read(buffer)) > 0;) {
            sum += n;
        }
        return sum;
    }
}
