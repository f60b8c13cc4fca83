// What a person sees, with Debian's Chromium: sign-in, return, several tabs, refusal, sign-out, error pages.
//
//   node pages.mjs BASE FOLDER
//
// BASE is the proxy with the routes /app/* (everybody), /engineering/* (ann, not bob) and /tools/mcp. Screenshots
// of the proxy's own pages go to FOLDER. Prints one JSON line.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [base, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
  env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
});

// What the browser itself complained about: blocked styles, broken policies, failed loads.
const complaints = [];
const widths = {};

async function person() {
  const context = await browser.newContext({ viewport: { width: 1000, height: 700 } });
  context.setDefaultTimeout(30_000);
  context.on('console', (message) => {
    // A page that is an error on purpose is reported as a failed load of itself; nobody has a favicon.
    const expected = /Failed to load resource: the server responded with a status of (400|401|403|404)/;
    if (['error', 'warning'].includes(message.type()) && !expected.test(message.text())) {
      complaints.push(`${message.page()?.url()}: ${message.text()}`);
    }
  });
  return context;
}

async function signIn(page, login) {
  await page.fill('input[name=login]', login);
  await page.fill('input[name=password]', login);
  await page.click('button[type=submit]');
}

// Screenshots for eyes: light, dark, narrow; and how wide the page is on a phone.
async function look(page, name) {
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: join(folder, `${name}-dark.png`) });
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 320, height: 640 });
  await page.screenshot({ path: join(folder, `${name}-narrow.png`) });
  widths[name] = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.setViewportSize({ width: 1000, height: 700 });
}

const seen = {};
try {
  // Return-to, and a second tab that needs no sign-in.
  const ann = await person();
  let page = await ann.newPage();
  await page.goto(`${base}/app/reports?year=2026#part`);
  seen.at_provider = await page.title();
  await signIn(page, 'ann');
  await page.waitForURL(`${base}/app/reports**`);
  seen.returned = page.url();
  seen.backend = await page.textContent('h1');
  const tab = await ann.newPage();
  await tab.goto(`${base}/app/second`);
  seen.second_tab = tab.url();
  seen.cookies = (await ann.cookies(base)).filter(({ name }) => !name.startsWith('_')).map(({ name, httpOnly, sameSite, path, domain }) => ({ name, httpOnly, sameSite, path, domain }));

  // Sign-out ends it here and at the provider.
  await page.goto(`${base}/oauth2/sign_out`);
  await page.click('button[name=logout]');
  await page.waitForURL(`${base}/**`);
  seen.signed_out = await page.textContent('h1');
  await look(page, 'signed-out');
  seen.cookies_after = (await ann.cookies(base)).map(({ name }) => name).filter((name) => !name.startsWith('_'));
  await tab.goto(`${base}/app/second`);
  seen.after_sign_out = await tab.title();
  await ann.close();

  // Two tabs that both wait at the provider, finished in the other order.
  const both = await person();
  const [one, two] = [await both.newPage(), await both.newPage()];
  await one.goto(`${base}/app/one`);
  await two.goto(`${base}/app/two`);
  await signIn(two, 'ann');
  await two.waitForURL(`${base}/app/two`);
  await signIn(one, 'ann');
  await one.waitForURL(`${base}/app/one`);
  seen.both_tabs = [one.url(), two.url()];
  await both.close();

  // The sign-in page and its button.
  const bob = await person();
  page = await bob.newPage();
  await page.goto(`${base}/oauth2/sign_in?rd=/app/from-button`);
  seen.sign_in = await page.textContent('h1');
  await look(page, 'sign-in');
  await page.click('a.button, button');
  await signIn(page, 'bob');
  await page.waitForURL(`${base}/app/from-button`);
  seen.from_button = page.url();

  // Refused, but signed in.
  const refused = await page.goto(`${base}/engineering/`);
  seen.refused = { status: refused.status(), title: await page.title(), text: await page.textContent('main') };
  await look(page, 'refused');

  // Below our prefix, but nothing.
  const nothing = await page.goto(`${base}/oauth2/nothing-here`);
  seen.nothing = { status: nothing.status(), title: await page.title() };
  await look(page, 'nothing');
  await bob.close();

  // Said no at the provider; a callback out of the blue; an MCP address opened by a person.
  const eve = await person();
  page = await eve.newPage();
  await page.goto(`${base}/app/`);
  await page.click('text=Cancel');
  await page.waitForURL(`${base}/oauth2/callback**`);
  seen.cancelled = { title: await page.title(), text: await page.textContent('main') };
  await look(page, 'cancelled');
  const blue = await page.goto(`${base}/oauth2/callback?code=x&state=y`);
  seen.out_of_the_blue = { status: blue.status(), title: await page.title() };
  await look(page, 'out-of-the-blue');
  const help = await page.goto(`${base}/tools/mcp`);
  seen.mcp = { status: help.status(), type: help.headers()['content-type'], text: await page.textContent('body') };
  await look(page, 'mcp');
  await eve.close();
} catch (error) {
  seen.failure = String(error.stack ?? error);
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
process.stdout.write(`${JSON.stringify({ ...seen, complaints, widths })}\n`);
process.exit(0);
