// Starts Azurite at a free port, makes a container there, and prints the port. Its clock goes on by
// a minute with each object that is stored, as that of `common::s3` does, and is ahead by the seconds
// that a file says. While the file `append-only` is there, nobody has the right to remove a blob.
const [, clock, azurite, account, key, container] = process.argv;
const crypto = require('crypto'), fs = require('fs'), http = require('http');
const path = require('path'), Machine = Date;

let [stored, seconds, isReading] = [0, 0, false];
function ahead() {
  // What reads a file may look at the clock.
  if (!isReading) {
    isReading = true;
    seconds = Number(fs.readFileSync(clock, 'utf8'));
    isReading = false;
  }
  return 60 * stored + seconds;
}
globalThis.Date = class extends Machine {
  constructor(...given) { given.length ? super(...given) : super(Date.now()); }
  static now() { return Machine.now() + 1000 * ahead(); }
};
const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, request, ...more) {
  if (event === 'request' && request.method === 'PUT') stored += 1;
  return emit.call(this, event, request, ...more);
};

const part = (name) => require(path.join(path.dirname(azurite), name)).default;
const blobs = part('handlers/BlobHandler').prototype, errors = part('errors/StorageErrorFactory');
const remove = blobs.delete;
blobs.delete = async function (options, context) {
  if (fs.existsSync(path.join(path.dirname(clock), 'append-only')))
    throw errors.getAuthorizationPermissionMismatch(context.contextId);
  return remove.call(this, options, context);
};

// The container, by a request that is signed with the account's key.
function make(port) {
  const date = new Date().toUTCString(), name = `/${account}/${container}`;
  const said = `x-ms-date:${date}\nx-ms-version:2023-11-03\n/${account}${name}\nrestype:container`;
  const secret = crypto.createHmac('sha256', Buffer.from(key, 'base64'));
  const signature = secret.update('PUT' + '\n'.repeat(12) + said).digest('base64');
  const headers = { 'x-ms-date': date, 'x-ms-version': '2023-11-03', 'content-length': 0,
    authorization: `SharedKey ${account}:${signature}` };
  http.request({ host: '127.0.0.1', port, method: 'PUT', path: `${name}?restype=container`, headers },
    (answer) => process.stdout.write(answer.statusCode === 201 ? `${port}\n` : 'none\n')).end();
}

console.log = (line) => {
  const listens = /listens on http:..127.0.0.1:(\d+)/.exec(line);
  if (listens) make(Number(listens[1]));
};

process.argv = ['node', 'azurite-blob', '--inMemoryPersistence', '--silent', '--disableTelemetry',
  '--blobHost', '127.0.0.1', '--blobPort', '0'];
require(azurite);
