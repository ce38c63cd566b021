// Signing in at a provider (OpenID Connect): a certified one, run here, and a broker of
// its own that knows it. No desktops are needed for that.
import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { launch } from "./lib/browser.mjs";
import { Broker, freePort } from "./lib/broker.mjs";
import { Cli } from "./lib/cli.mjs";
import { IdentityProvider } from "./lib/identity.mjs";
import { Portal } from "./lib/portal.mjs";
import { system } from "./lib/system.mjs";

const CLIENT = { id: "desks", secret: "a secret of the client" };
const OPERATOR = { name: "operator", password: "correct horse battery" };

describe("signing in at a provider", { timeout: 180_000 }, () => {
  let browser;
  let broker;
  let provider;
  let operator;
  let address;
  let configuration;
  const windows = [];

  before(async () => {
    broker = await Broker.prepare(system.cli, await freePort());
    const port = await freePort();
    address = { client: CLIENT, portal: broker.system.url, port };
    provider = await IdentityProvider.start(address);
    provider.people = {
      "subject-1": { preferred_username: "Ada", name: "Ada Lovelace", groups: ["staff"] },
      "subject-2": { preferred_username: "ada", name: "Another Ada", groups: [] },
      "subject-3": { preferred_username: OPERATOR.name, name: "An impostor", groups: ["staff"] },
    };
    await broker.addUser(OPERATOR.name, OPERATOR.password, "--role", "admin");
    const secret = join(broker.dir, "secret");
    await writeFile(secret, CLIENT.secret);
    await chmod(secret, 0o600);
    configuration =
      `[oidc]\nissuer = "${provider.issuer}"\nclient_id = "${CLIENT.id}"\nclient_secret_file = "${secret}"\n` +
        `portal = ["${broker.system.url}"]\nscopes = ["profile", "groups"]\nca = "${broker.system.ca}"\n` +
        `groups = ["staff=teachers"]\nroles = ["staff=auditor"]\ntitle = "the school"\n`;
    await broker.start(configuration);
    operator = await Cli.signedIn(broker.system, OPERATOR);
    await operator.run(["group", "create", "teachers"]);
    browser = await launch();
  });

  after(async () => {
    await browser?.close();
    await operator?.close();
    await broker?.close();
    await provider?.stop();
  });

  // Each test begins in new windows, which know nobody.
  afterEach(async () => {
    const faults = windows.flatMap((portal) => portal.faults);
    for (const portal of windows) await portal.close();
    windows.length = 0;
    assert.deepEqual(faults, [], "a page has thrown errors");
  });

  async function openWindow(view = "") {
    const portal = await Portal.open(browser, broker.system.url + view);
    windows.push(portal);
    return portal;
  }

  /** From the sign-in page to the provider, and through its pages. */
  async function signInAs(portal, subject) {
    await portal.by("sign-in-provider").click();
    await fillIn(portal, subject);
  }

  /** The provider's own page. */
  async function fillIn(portal, subject) {
    await portal.page.locator('input[name="login"]').fill(subject);
    await portal.page.locator('input[name="password"]').fill("any");
    await portal.page.locator('button[type="submit"]').click();
  }

  /** Where a browser is sent that wants to sign in, without going there. */
  async function questionOf(portal) {
    const answer = await portal.page.context().request.get(`${broker.system.url}/oidc/sign-in?view=/`, { maxRedirects: 0 });
    return answer.headers().location;
  }

  async function answerAs(portal, question, subject) {
    await portal.page.goto(question);
    await fillIn(portal, subject);
  }

  async function users() {
    const { users } = await operator.json(["user", "list"]);
    return new Map(users.map((user) => [user.name, user]));
  }

  it("makes an account with its groups and role, and it is the same one the next time", async () => {
    const portal = await openWindow();
    assert.equal(await portal.by("sign-in-provider").innerText(), "Sign in with the school");
    await signInAs(portal, "subject-1");
    await portal.by("user-menu").waitFor();
    assert.equal(await portal.by("user-menu").innerText(), "Ada Lovelace");
    assert.equal(await portal.page.evaluate(() => location.pathname + location.search + location.hash), "/#/");
    const ada = (await users()).get("ada");
    assert.deepEqual([ada.role, ada.groups], ["auditor", ["teachers"]]);

    // Out here is out there: the provider asks again who it is.
    await portal.by("user-menu").click();
    await portal.by("sign-out").click();
    await portal.page.locator('button[name="logout"][value="yes"]').click();
    await portal.by("sign-in-provider").waitFor();
    assert.ok(portal.page.url().startsWith(broker.system.url), portal.page.url());
    provider.people["subject-1"].groups = [];
    await signInAs(portal, "subject-1");
    await portal.by("user-menu").waitFor();
    const again = (await users()).get("ada");
    assert.deepEqual([again.uid, again.role, again.groups ?? []], [ada.uid, "user", []]);
  });

  it("refuses another person by the same name, and the name of an account of the cluster", async () => {
    for (const subject of ["subject-2", "subject-3"]) {
      const portal = await openWindow();
      await signInAs(portal, subject);
      assert.match(await portal.by("error-message").innerText(), /name is taken by another account/);
      await portal.close();
      windows.pop();
    }
    assert.equal((await users()).get(OPERATOR.name).role, "admin");
    const { entries } = await operator.json(["audit", "list", "--act", "sign-in", "--outcome", "refused"]);
    assert.ok(entries.some(({ user, reason }) => user === OPERATOR.name && /NAME_TAKEN/.test(reason)), JSON.stringify(entries));
  });

  it("believes no answer to a question it has not put to this browser", async () => {
    // What it was told to ask comes back as something else.
    const portal = await openWindow();
    const question = await questionOf(portal);
    const changed = new URL(question);
    changed.searchParams.set("state", "x".repeat(43));
    await answerAs(portal, changed.toString(), "subject-1");
    assert.match(await portal.by("error-message").innerText(), /begun in another browser/);
    assert.equal(await portal.by("user-menu").count(), 0);

    // The right question, put to this browser and answered in another.
    const victim = await openWindow();
    await answerAs(victim, question, "subject-1");
    assert.match(await victim.by("error-message").innerText(), /begun in another browser/);
    assert.equal(await victim.by("user-menu").count(), 0);
  });

  it("lets the command line in by the browser, with a code that is worth nothing to others", async () => {
    const cli = new Cli(broker.system, await mkdtemp(join(tmpdir(), "rolltop-cli-")));
    try {
      const login = cli.start(["login", "--browser"]);
      const shown = await login.line(/https:\S+/);
      const portal = await openWindow(`/${new URL(shown).hash}`);
      await signInAs(portal, "subject-1");
      const mark = await portal.by("program-mark").innerText();
      assert.ok(login.shown().includes(mark), login.shown());
      await portal.by("program-allow").click();
      await portal.page.getByText("rolltop has its code").waitFor();
      assert.equal(await login.ended, 0, login.shown());
      assert.equal((await cli.json(["whoami"])).name, "ada");
      await cli.run(["logout"]);

      // With a browser elsewhere, the page shows it.
      const byHand = cli.start(["login", "--by-hand"]);
      const page = new URL(await byHand.line(/https:\S+/));
      const elsewhere = await openWindow(`/${page.hash}`);
      await signInAs(elsewhere, "subject-1");
      await elsewhere.by("program-allow").click();
      byHand.say(await elsewhere.by("program-code").inputValue());
      assert.equal(await byHand.ended, 0, byHand.shown());
      assert.equal((await cli.json(["whoami"])).name, "ada");
    } finally {
      await cli.close();
    }
  });

  it("says in words that the provider is down, and passwords go on", async () => {
    // A broker that has just begun knows nothing of it.
    await provider.stop();
    await broker.stop();
    await broker.start(configuration);
    const portal = await openWindow();
    await portal.by("sign-in-provider").click();
    assert.match(await portal.by("error-message").innerText(), /cannot be reached/);
    await portal.signIn(OPERATOR);
    await portal.by("user-menu").waitFor();
    provider = await IdentityProvider.start(address);
  });
});
