#!/usr/bin/env node
// A scripted person with a browser, who signs in at the provider and approves on the proxy's consent page.
//
//   person.mjs AUTHORIZATION_URL REDIRECT_URI    prints the address at which the client is called back
//   person.mjs AUTHORIZATION_URL                 what clients open (`BROWSER`): calls the client back
//
// PERSON_LOGIN is who it is. The second form returns at once, as a real opener does (some clients wait for it before
// they listen for the answer), and writes what went wrong to the file PERSON_LOG.
import { appendFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Browser } from './browser.mjs';

const [start, redirectUri] = process.argv.slice(2);
const { PATH, PERSON_LOGIN, PERSON_LOG, PERSON_WALKS } = process.env;
const browser = new Browser(PERSON_LOGIN);
if (redirectUri) {
  console.log((await browser.authorize(start, redirectUri)).href);
} else if (PERSON_WALKS) {
  try {
    await browser.authorize(start, new URL(start).searchParams.get('redirect_uri'), { visit: true });
  } catch (error) {
    appendFileSync(PERSON_LOG, `${error.stack}\n`);
  }
} else {
  const walk = spawn(process.execPath, [fileURLToPath(import.meta.url), start], {
    detached: true,
    stdio: 'ignore',
    env: { PATH, PERSON_LOGIN, PERSON_LOG, PERSON_WALKS: 'yes' },
  });
  walk.unref();
}
