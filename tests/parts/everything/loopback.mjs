// Loaded before server-everything: makes it listen on a free port of 127.0.0.1 instead of all interfaces, print one
// JSON line {"url"} when it serves, and end when its standard input closes.
import net from 'node:net';

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function loopback(...args) {
  const done = args.find((arg) => typeof arg === 'function');
  return listen.call(this, { port: 0, host: '127.0.0.1' }, () => {
    process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${this.address().port}` })}\n`);
    done?.call(this);
  });
};
process.stdin.on('end', () => process.exit(0)).resume();
