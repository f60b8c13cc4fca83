// The authorization flow as people see it, with Debian's Chromium: approve and deny to every kind of app, two people
// with a browser each, keyboard, languages, phones; and axe on every page.
//
//   node consent.mjs PLAN FOLDER
//
// PLAN is JSON: base, requests (name to authorization URL), landing (where apps on this computer wait), certificate
// and key (PEM) for the apps on the web. Screenshots go to FOLDER. Prints one JSON line.
import { createRequire } from 'node:module';
import { createServer } from 'node:https';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const plan = JSON.parse(process.argv[2]);
const folder = process.argv[3];
const { base, requests } = plan;
mkdirSync(folder, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const profile = mkdtempSync(join(tmpdir(), 'chromium-'));

// Apps on the web: one that takes its answer, one that goes on to a scheme of its own (as Claude's callback does), and
// a site that means no good.
const webSaw = [];
const web = createServer({ cert: plan.certificate, key: plan.key }, (request, response) => {
  const { hostname, search } = new URL(`https://${request.headers.host}${request.url}`);
  if (hostname === 'hop.example') {
    webSaw.push(request.url);
    return response.writeHead(302, { location: `testapp://done${search}` }).end();
  }
  if (request.url === '/favicon.ico') return response.writeHead(204).end();
  if (request.url === '/link') return response.writeHead(200, { 'content-type': 'text/html' }).end(`<title>evil</title><a href="${base}/oauth2/sign_out?rd=/">go</a>`);
  const body = hostname === 'evil.example'
    ? `<title>evil</title><iframe src="${requests.framed}"></iframe><form method="post" action="${base}/oauth2/consent"><input name="decision" value="approve"><button>go</button></form>`
    : '<title>web app</title>';
  return response.writeHead(200, { 'content-type': 'text/html' }).end(body);
});
await new Promise((done) => { web.listen(0, '127.0.0.1', done); });
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
    `--host-resolver-rules=MAP *.example:443 127.0.0.1:${web.address().port}`],
  env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
});

const seen = { complaints: [], external: [], violations: [], widths: {}, foreign: [], left: [] };
const axed = new Set();

// One person with a browser. `launches` are addresses of schemes that an app would open.
async function person(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 900 }, ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(30_000);
  const launches = [];
  context.on('console', (message) => {
    const text = message.text();
    const launch = text.match(/Failed to launch '([^']+)' because the scheme does not have a registered handler/);
    if (launch) { launches.push(launch[1]); return; }
    const expected = /Failed to load resource: the server responded with a status of (400|401|403|404)/;
    if (['error', 'warning'].includes(message.type()) && !expected.test(text)) {
      seen.complaints.push(`${message.page()?.url()}: ${text}`);
    }
  });
  context.on('request', (request) => {
    if (request.url().startsWith('testapp:')) launches.push(request.url());
  });
  return { context, launches };
}

async function signIn(page, login) {
  await page.fill('input[name=login]', login);
  await page.fill('input[name=password]', login);
  await page.click('button[type=submit]');
}

// Opens a request as somebody, signing in where asked.
async function open(page, url, login) {
  await page.goto(url);
  if (!page.url().startsWith(base)) {
    await signIn(page, login);
    await page.waitForURL(`${base}/oauth2/authorize**`);
  }
}

async function look(page, name) {
  const facts = await page.evaluate(() => ({
    h1: document.querySelectorAll('h1').length,
    landmarks: ['header', 'main', 'footer'].filter((tag) => document.querySelector(tag)).length,
    inline: document.querySelectorAll('[style],style,script').length,
    zoom: /user-scalable|maximum-scale/.test(document.querySelector('meta[name=viewport]').content),
    small: [...document.querySelectorAll('button, a.button, input[type=checkbox]')]
      .map((control) => control.getBoundingClientRect()).filter(({ height }) => height > 0 && height < 20).length,
    cookie: document.cookie,
    stored: localStorage.length + sessionStorage.length,
  }));
  const { h1, landmarks, inline, zoom, small, cookie, stored } = facts;
  if (h1 !== 1 || landmarks !== 3 || inline || zoom || small || cookie || stored) seen.left.push(`${name}: ${JSON.stringify(facts)}`);
  for (const [scheme, suffix] of [['light', ''], ['dark', '-dark']]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width: 320, height: 640 });
    await page.screenshot({ path: join(folder, `${name}${suffix}.png`), fullPage: true });
    seen.widths[name] = await page.evaluate(() => document.documentElement.scrollWidth);
    // The page's own policy forbids scripts; the tester's go beside it.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, {
      runOnly: { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] },
    }));
    seen.violations.push(...violations.map(({ id, nodes }) => `${name}${suffix}: ${id}: ${nodes[0].html}`));
    axed.add(name + suffix);
  }
  // 400 % zoom of a 1280 px window is 320 px; text spacing of WCAG 1.4.12 on top.
  await page.evaluate(() => {
    const spaced = new CSSStyleSheet();
    spaced.replaceSync('*{line-height:1.5!important;letter-spacing:.12em!important;word-spacing:.16em!important}p{margin-bottom:2em!important}');
    document.adoptedStyleSheets = [spaced];
  });
  seen.widths[`${name}-spaced`] = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1000, height: 900 });
  await page.evaluate(() => { document.adoptedStyleSheets = []; });
}

// Everything that a page of ours asks for comes from us.
function watch(page) {
  page.on('request', (request) => {
    const frame = request.frame();
    if (frame && frame.url().startsWith(base) && !request.isNavigationRequest() && !request.url().startsWith(base)) seen.foreign.push(request.url());
  });
}

const answers = {};
try {
  // Approve and deny to every kind of app: the answer arrives each time, and nothing is reported.
  const { context: ann, launches } = await person();
  let page;
  for (const [decision, button] of [['deny', 'Deny'], ['approve', 'Allow access']]) {
    for (const kind of ['loopback', 'web', 'hop', 'scheme']) {
      launches.length = 0;
      // A tab of its own: Chromium asks about the app of a scheme, and then takes no further click in that tab.
      page = await ann.newPage();
      watch(page);
      await open(page, requests[kind], 'ann');
      if (decision === 'deny' && kind === 'loopback') {
        await look(page, 'consent');
        // Enter right after load approves nothing, and no button has the focus.
        await page.goto(page.url());
        seen.focused = await page.evaluate(() => document.activeElement.tagName);
        await page.keyboard.press('Enter');
        seen.after_enter = new URL(page.url()).pathname;
        seen.tree = (await page.locator('body').ariaSnapshot()).replaceAll(/\/url: .*/g, '/url: …');
      }
      await page.getByRole('button', { name: button }).click();
      if (kind === 'loopback') await page.waitForURL(`${plan.landing}/**`);
      if (kind === 'web') await page.waitForURL('https://web.example/**');
      if (['hop', 'scheme'].includes(kind)) {
        for (let waits = 0; waits < 300 && launches.length === 0; waits += 1) await page.waitForTimeout(50);
        if (launches.length === 0) throw new Error(`${decision} ${kind}: nothing was launched from ${page.url()}; the app saw ${webSaw}`);
      }
      answers[`${decision} ${kind}`] = launches.at(-1) ?? page.url();
      if (kind === 'scheme') {
        await look(page, `hand-off-${decision}`);
        seen.hand_off = { path: new URL(page.url()).pathname + new URL(page.url()).search, button: await page.locator('a.button').textContent() };
      }
    }
  }
  // The back button shows the question again, and a second answer gives no second code.
  await page.goBack();
  await page.waitForURL(`${base}/oauth2/authorize**`);
  const [second] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.evaluate(() => document.querySelector('button[value=approve]').click()),
  ]);
  seen.after_back = { status: second.status(), code: (await second.text()).includes('mcpc_') };
  // Two tabs of one request: the first is taken, the second is told so.
  const [one, two] = [await ann.newPage(), await ann.newPage()];
  await open(one, requests.tabs, 'ann');
  await open(two, requests.tabs, 'ann');
  await one.getByRole('button', { name: 'Allow access' }).click();
  await one.waitForURL(`${plan.landing}/**`);
  await two.getByRole('button', { name: 'Allow access' }).click();
  await two.waitForURL(`${base}/oauth2/consent`);
  seen.second_tab = await two.textContent('h1');
  seen.heading_has_focus = await two.evaluate(() => document.activeElement.tagName);
  await look(two, 'used');

  // The whole decision by keys.
  page = await ann.newPage();
  await open(page, requests.keys, 'ann');
  const reached = [];
  for (let presses = 0; presses < 20; presses += 1) {
    await page.keyboard.press('Tab');
    const label = await page.evaluate(() => document.activeElement.textContent.trim());
    reached.push(label);
    if (label === 'Allow access') break;
  }
  seen.reached = reached;
  seen.focus_is_seen = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${plan.landing}/**`);
  answers.keys = page.url();

  // Without scripts, in Japanese, on a phone.
  const { context: phone } = await person({ javaScriptEnabled: false, locale: 'ja-JP', viewport: { width: 320, height: 640 } });
  page = await phone.newPage();
  await open(page, requests.phone, 'ann');
  seen.japanese = await page.locator('h1').textContent();
  await page.screenshot({ path: join(folder, 'consent-ja-phone.png'), fullPage: true });
  await page.getByRole('button', { name: 'アクセスを許可' }).click();
  await page.waitForURL(`${plan.landing}/**`);
  answers.phone = page.url();
  await phone.close();

  // The same pages in Japanese, for eyes and axe.
  const { context: yuki } = await person({ locale: 'ja-JP' });
  page = await yuki.newPage();
  await open(page, requests.unverified, 'ann');
  await look(page, 'consent-ja');
  await page.goto(requests.stopped);
  await look(page, 'stopped-ja');
  await page.goto(`${base}/files/mcp`);
  await look(page, 'help-ja');
  await page.goto(`${base}/oauth2/nothing`);
  await look(page, 'nothing-ja');
  await page.goto(`${base}/oauth2/sign_in`);
  await look(page, 'sign-in-ja');
  await page.goto('https://evil.example/link');
  await page.click('a');
  await page.waitForURL(`${base}/oauth2/sign_out**`);
  await look(page, 'sign-out-ja');
  await yuki.clearCookies();
  await page.goto(`${base}/oauth2/sign_out`);
  await look(page, 'signed-out-ja');
  await yuki.close();

  // Two people: bob's browser opens what ann's was asked, and posts what ann's would post.
  const { context: bob } = await person();
  const asked = await ann.newPage();
  await open(asked, requests.stolen, 'ann');
  const form = await asked.evaluate(() => Object.fromEntries(new FormData(document.querySelector('form[action$="/consent"]'))));
  page = await bob.newPage();
  await open(page, asked.url(), 'bob');
  seen.bob = { status: (await page.goto(asked.url())).status(), text: await page.textContent('main') };
  await look(page, 'refused');
  // His own page of another request, with ann's sealed request put in.
  await open(page, requests.notes, 'bob');
  await page.evaluate((stolen) => {
    const own = document.querySelector('form[action$="/consent"]');
    for (const [name, value] of Object.entries(stolen)) own.elements[name].value = value;
  }, form);
  const [refused] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.getByRole('button', { name: 'Allow access' }).click(),
  ]);
  await page.waitForURL(`${base}/oauth2/consent`);
  seen.stolen = { status: refused.status(), url: page.url(), title: await page.textContent('h1') };
  await look(page, 'other-session');
  await asked.getByRole('button', { name: 'Allow access' }).click();
  await asked.waitForURL(`${plan.landing}/**`);
  answers.stolen = asked.url();

  // Another account: the session ends, the provider is asked to let choose, and the same question comes back.
  await open(page, requests.switched, 'bob');
  const toProvider = page.waitForRequest((request) => request.url().includes('prompt=select_account'));
  await page.getByRole('button', { name: 'Use another account' }).click();
  await toProvider;
  // This provider cannot let people choose, so it asks them to sign in anew.
  await signIn(page, 'ann');
  await page.waitForURL(`${base}/oauth2/authorize**`);
  seen.switched = await page.textContent('.account');
  await bob.close();

  // Another site: what it frames stays blank, and its form is refused.
  page = await ann.newPage();
  const quiet = seen.complaints.length;
  await page.goto('https://evil.example/');
  await page.waitForLoadState();
  seen.framed = await page.frames()[1]?.evaluate(() => document.body?.innerText ?? '').catch(() => '');
  const [posted] = await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'POST'),
    page.click('button'),
  ]);
  seen.cross_site = posted.status();
  await page.waitForURL(`${base}/oauth2/consent`);
  await look(page, 'other-site');
  // That the frame was refused is what the browser has to say here.
  seen.frame_refused = seen.complaints.splice(quiet).filter((text) => /frame-ancestors|X-Frame-Options|ERR_BLOCKED|refused/i.test(text)).length > 0;

  // What is left: the stopped page, errors of an app, help, in English.
  page = await ann.newPage();
  await page.goto(requests.stopped);
  seen.stopped = { url: page.url(), title: await page.textContent('h1') };
  await look(page, 'stopped');
  await page.goto(requests.failed);
  seen.failed = { url: page.url(), title: await page.textContent('h1') };
  await look(page, 'failed');
  await page.goto(`${base}/files/mcp`);
  seen.help = { title: await page.textContent('h1'), links: await page.locator('a.button').evaluateAll((all) => all.map((a) => a.getAttribute('href'))) };
  await look(page, 'help');
  await page.emulateMedia({ forcedColors: 'active' });
  await page.screenshot({ path: join(folder, 'help-forced.png'), fullPage: true });
  await page.emulateMedia({ forcedColors: 'none' });
  await page.goto('https://evil.example/link');
  await page.click('a');
  await page.waitForURL(`${base}/oauth2/sign_out**`);
  await look(page, 'sign-out');
  await ann.close();
} catch (error) {
  seen.failure = String(error.stack ?? error);
  seen.open = await Promise.all(browser.contexts().flatMap((context) => context.pages())
    .map(async (each) => `${each.url()}: ${await each.textContent('body').catch(() => '')}`));
} finally {
  await browser.close();
  web.close();
  rmSync(profile, { recursive: true, force: true });
}
process.stdout.write(`${JSON.stringify({ ...seen, answers, axed: [...axed] })}\n`);
process.exit(0);
