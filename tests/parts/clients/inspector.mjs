// A visit with the Inspector's command line, step by step (see steps.mjs): each step is a process of its own, which
// takes the tokens that the one before it has kept. It opens a browser by itself: `BROWSER`.
//
//   node inspector.mjs URL MODE FOLDER
//
// MODE is `legacy` or `modern`. FOLDER is where it keeps its tokens and we its clock.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { steps } from './steps.mjs';

const [url, mode, folder] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const clock = join(folder, 'clock');
let ahead = 0;
writeFileSync(clock, '0');

// A port for the browser's way back; the tool has one fixed port else, for all of its users on a machine.
const port = await new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port: free } = server.address();
    server.close(() => done(free));
  });
});

async function run(...args) {
  const command = ['--no-warnings', '--import', here('clock.mjs'),
    here('../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js'), '--cli',
    url, '--transport', 'http', '--protocol-era', mode, '--format', 'json', '--connect-timeout', '60000',
    '--callback-url', `http://127.0.0.1:${port}/oauth/callback`, ...args];
  const env = {
    ...process.env,
    CLOCK: clock,
    HOME: folder,
    MCP_AUTO_OPEN_ENABLED: 'true',
    MCP_INSPECTOR_SECRET_STORE: 'file',
  };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, command, { env });
    return JSON.parse(stdout);
  } catch (error) {
    throw new Error(`${error.message}\n${error.stdout}\n${error.stderr}`);
  }
}

await steps({
  list: async () => ({ tools: (await run('--method', 'tools/list')).result.tools.map((each) => each.name) }),
  call: async (command) => {
    const { result } = await run('--method', 'tools/call', '--tool-name', command.tool, '--tool-args-json', JSON.stringify(command.arguments));
    return { text: result.content?.[0]?.text ?? null };
  },
  later: (command) => {
    ahead += command.seconds;
    writeFileSync(clock, String(ahead));
  },
  quit: () => {},
});
