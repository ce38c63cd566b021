// The operators' pages, as an operator uses them while somebody else works.
// Runs against the system as portal.test.mjs does.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { launch } from "./lib/browser.mjs";
import { Cli } from "./lib/cli.mjs";
import { eventually } from "./lib/eventually.mjs";
import { Portal } from "./lib/portal.mjs";
import { system } from "./lib/system.mjs";

const TABS = ["overview", "hosts", "desktops", "sessions", "pools", "images", "users"];
const PHONE = { viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true };

describe("the operators' pages", { timeout: 180_000 }, () => {
  let browser;
  let cli;
  let operator;
  let host;
  const windows = [];

  before(async () => {
    browser = await launch();
    cli = await Cli.signedIn(system, system.user);
    operator = await Cli.signedIn(system, system.operator);
    host = (await operator.json(["host", "list"])).hosts[0].name;
  });

  after(async () => {
    await browser?.close();
    await cli?.close();
    await operator?.close();
  });

  // Each test begins without windows and without desktops.
  afterEach(async () => {
    const faults = windows.flatMap((portal) => portal.faults);
    for (const portal of windows) await portal.close();
    windows.length = 0;
    await cli.stopAll();
    assert.deepEqual(faults, [], "a page has thrown errors");
  });

  async function signedIn(person, options) {
    const portal = await Portal.open(browser, system.url, options);
    windows.push(portal);
    await portal.signIn(person);
    await portal.by("user-menu").waitFor();
    return portal;
  }

  async function operating(tab, options) {
    const portal = await signedIn(system.operator, options);
    await portal.by("operate").click();
    await portal.by(`tab-${tab}`).click();
    await portal.by(`page-${tab}`).waitFor();
    return portal;
  }

  it("are not for everybody", async () => {
    const portal = await signedIn(system.user);
    await portal.page.goto(`${system.url}/#/operator/hosts`);
    await portal.by("pool-demo-open").waitFor();
    assert.equal(await portal.by("operate").count(), 0);
    assert.equal(await portal.by("page-hosts").count(), 0);
  });

  it("drain a host and let it take desktops again, live", async () => {
    const portal = await operating("hosts");
    const row = portal.by(`hosts-row-${host}`);
    await row.getByText("Ready").waitFor();
    try {
      await portal.by(`open-${host}`).click();
      await portal.by("drain-minutes").fill("60");
      await portal.by("host-drain").click();
      await portal.by("host-undrain").waitFor();
      const { hosts } = await operator.json(["host", "list"]);
      assert.ok(hosts.find(({ name }) => name === host).drain, "the broker has noted it");
      await portal.by("host-undrain").click();
      await portal.by("host-undrain").waitFor({ state: "detached" });
    } finally {
      await operator.run(["host", "undrain", host]);
    }
    await portal.by("host-close").click();
    await row.getByText("Ready").waitFor();
  });

  it("show a desktop as somebody starts it, and stop it", async () => {
    const portal = await operating("desktops");
    const id = `demo/${system.user.name}`;
    assert.equal(await portal.by(`desktops-row-${id}`).count(), 0);
    await cli.run(["desktop", "start", "demo"]);
    await portal.by(`desktops-row-${id}`).getByText("Running").waitFor();

    await portal.by("tab-overview").click();
    await portal.by("start-times").getByText(/\d+ starts: half within/).waitFor();
    await portal.by("plot-starts").locator("circle").first().waitFor();
    await portal.by(`plot-load-${host}`).locator("path").first().waitFor({ state: "attached" });

    await portal.by("tab-desktops").click();
    await portal.by(`open-${id}`).click();
    await portal.by("desktop-stats").getByText("of one").waitFor();
    await portal.by("desktop-stop").click();
    await portal.by("confirm-accept").click();
    await portal.by(`desktops-row-${id}`).waitFor({ state: "detached" });
    await eventually("it is gone", async () => !(await cli.desktopStates()).has("demo"));
  });

  it("make a pool and delete it", async () => {
    const portal = await operating("pools");
    await portal.by("pool-add").click();
    await portal.by("pool-name").fill("Not A Name");
    await portal.by("pool-image").fill("demo:stable");
    await portal.by("pool-save").click();
    await portal.by("pool-form").getByText("Use lower-case letters").waitFor();
    await portal.by("pool-name").fill("browser-made");
    await portal.by("pool-save").click();
    await portal.by("pools-row-browser-made").waitFor();
    const names = async () => (await operator.json(["pool", "list", "--all"])).pools.map(({ name }) => name);
    assert.ok((await names()).includes("browser-made"));
    await portal.by("pool-browser-made-delete").click();
    await portal.by("confirm-accept").click();
    await portal.by("pools-row-browser-made").waitFor({ state: "detached" });
    assert.ok(!(await names()).includes("browser-made"));
  });

  it("add a user with a role, who may look and change nothing", async () => {
    const auditor = { name: "browser-auditor", password: "look but do not touch 7" };
    const portal = await operating("users");
    try {
      await portal.by("user-add").click();
      await portal.by("user-name").fill(auditor.name);
      await portal.by("user-password").fill(auditor.password);
      await portal.by("user-role").selectOption("auditor");
      await portal.by("user-save").click();
      await portal.by(`users-row-${auditor.name}`).getByText("auditor", { exact: true }).waitFor();

      const looking = await signedIn(auditor);
      await looking.by("operate").click();
      await looking.by("tab-users").click();
      await looking.by(`users-row-${auditor.name}`).waitFor();
      assert.ok(await looking.by("user-add").isDisabled());
      await looking.by("tab-hosts").click();
      await looking.by(`open-${host}`).click();
      await looking.by("host-close").waitFor();
      assert.ok(await looking.by("host-drain").isDisabled());
    } finally {
      await operator.run(["user", "delete", auditor.name]);
    }
  });

  it("tell users something, and end their connection but not their session", async () => {
    const portal = await signedIn(system.user);
    await portal.openDesktop("demo");
    await operator.run(["session", "message", "Maintenance at five.", "--pool", "demo"]);
    await portal.by("notice").getByText("Maintenance at five.").waitFor();
    await portal.by("notice-read").click();
    await portal.by("notice").waitFor({ state: "detached" });

    const desktop = `demo/${system.user.name}`;
    const { sessions } = await operator.json(["session", "list", "--all"]);
    assert.equal(sessions.find((session) => session.desktop === desktop).viewer.user, system.user.name);
    await operator.run(["session", "disconnect", desktop, "--reason", "the room is being locked"]);
    await portal.by("sent-away-message").getByText("The room is being locked.").waitFor();
    await portal.by("connect-again").click();
    await portal.screen.shown();
  });

  it("fit on a phone", async () => {
    const portal = await operating("overview", PHONE);
    for (const tab of TABS) {
      await portal.by(`tab-${tab}`).click();
      await portal.by(`page-${tab}`).waitFor();
      const overflow = await portal.page.evaluate(() => document.scrollingElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${tab} is wider than the phone`);
    }
  });
});
