// Reads every entry; prints how many there are, and how many bytes they have:
// node reader.js NODE_MODULES yauzl|unzipper ZIP
const fs = require('fs');
const path = require('path');
const [modules, library, zip] = process.argv.slice(2);
const lib = require(path.join(modules, library));
let entries = 0;
let bytes = 0;
const end = () => console.log(`${entries} ${bytes}`);
const fail = (error) => { console.error(error); process.exit(1); };
const count = (chunk) => { bytes += chunk.length; };

if (library === 'yauzl') {
  lib.open(zip, { lazyEntries: true }, (error, archive) => {
    if (error) fail(error);
    archive.on('error', fail).on('end', end).on('entry', (entry) => {
      entries += 1;
      archive.openReadStream(entry, (problem, stream) => {
        if (problem) fail(problem);
        stream.on('error', fail).on('data', count).on('end', () => archive.readEntry());
      });
    });
    archive.readEntry();
  });
} else {
  const read = async () => {
    const archive = fs.createReadStream(zip).pipe(lib.Parse({ forceStream: true }));
    for await (const entry of archive) {
      entries += 1;
      for await (const chunk of entry) count(chunk);
    }
  };
  read().then(end, fail);
}
