// The operators' pages, as an operator uses them while somebody else works.
// Runs against the system as portal.test.mjs does.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, describe, it } from "node:test";
import { launch } from "./lib/browser.mjs";
import { Cli } from "./lib/cli.mjs";
import { eventually } from "./lib/eventually.mjs";
import { addImage, addVersion, removeImage } from "./lib/images.mjs";
import { Portal } from "./lib/portal.mjs";
import { system } from "./lib/system.mjs";
import { codeOf } from "./lib/totp.mjs";

const TABS = ["overview", "hosts", "desktops", "sessions", "pools", "images", "data", "users", "groups", "audit"];
const PHONE = { viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true };

describe("the operators' pages", { timeout: 300_000 }, () => {
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

  it("bring the desktops of a pool to what its tag means, live, and back", async () => {
    const pool = "browser-rolled";
    const session = ["/usr/local/bin/rolltop-session"];
    const runs = async () => (await cli.json(["desktop", "show", pool])).version;
    const away = { name: "browser-away", password: "out for the whole day 8" };
    let elsewhere;
    await addImage(system.images, pool, session);
    try {
      await operator.run(["pool", "set", pool, "--image", `${pool}:stable`, "--disk", "256MiB"]);
      const person = await signedIn(system.user);
      await person.openDesktop(pool);
      await operator.run(["user", "add", away.name, "--password-stdin"], away.password);
      elsewhere = await Cli.signedIn(system, away);
      await elsewhere.run(["desktop", "start", pool]);
      const before = await runs();
      const portal = await operating("pools");
      const behind = portal.by(`pool-${pool}-rollout`);
      await behind.getByText("0", { exact: true }).waitFor();
      await addVersion(system.images, pool, "next", session);
      await operator.run(["image", "tag", `${pool}@next`, "stable", "--store", system.images]);
      await behind.getByText("2", { exact: true }).waitFor();

      await behind.click();
      await portal.by("rollout-deadline").fill("10s");
      await portal.by("rollout-warning").fill("2s");
      await portal.by("rollout-batch").fill("1");
      await portal.by("rollout-start").click();
      await person.by("ends-note").getByText("a new version of this desktop").waitFor();
      // Where nobody looks on goes first; who does gets another at the deadline.
      const dialog = portal.by("rollout-dialog");
      await portal.by("rollout-words").getByText("0 of 2 restarted, 1 ended, 1 behind, 1 with somebody connected").waitFor();
      await person.by("ended-message").waitFor();
      await portal.by("rollout-words").getByText("1 of 2 restarted, 1 ended").waitFor();
      await dialog.getByText("Done", { exact: true }).waitFor();
      await portal.by("rollout-behind").getByText(`None of 1 running desktops is behind ${pool}:stable.`).waitFor();
      assert.equal(await runs(), "next");
      await person.by("start-again").click();
      await person.screen.shown();

      await portal.by("rollout-back").click();
      await portal.by("confirm-accept").click();
      await person.by("ends-note").getByText("an earlier version").waitFor();
      await portal.by("rollout-words").getByText("1 of 1 restarted").waitFor();
      await dialog.getByText("Done", { exact: true }).waitFor();
      await portal.by("rollout-behind").getByText(`behind ${pool}@${before}.`).waitFor();
      assert.equal(await runs(), before);
      await portal.by("rollout-close").click();
      await behind.getByText("0", { exact: true }).waitFor();
    } finally {
      await cli.run(["desktop", "stop", pool]).catch(() => {});
      await elsewhere?.run(["desktop", "stop", pool]).catch(() => {});
      await elsewhere?.close();
      await operator.run(["user", "delete", away.name]).catch(() => {});
      await operator.run(["pool", "delete", pool]);
      await removeImage(system.images, pool);
    }
  });

  it("make a user an auditor, who may look and change nothing, whatever their name is", async () => {
    const auditor = { name: "browser-auditor", password: "look but do not touch 7" };
    const fullName = '<img src=x onerror="throw 1">';
    const portal = await operating("users");
    try {
      await portal.by("user-add").click();
      await portal.by("user-name").fill(auditor.name);
      await portal.by("user-full-name").fill(fullName);
      await portal.by("user-password").fill(auditor.password);
      await portal.by("user-save").click();
      const row = portal.by(`users-row-${auditor.name}`);
      await row.getByText(fullName).waitFor();
      // By the keyboard alone, there and back.
      await portal.by(`open-${auditor.name}`).focus();
      await portal.page.keyboard.press("Enter");
      await portal.by("user-dialog").waitFor();
      await portal.page.keyboard.press("Escape");
      await portal.by("user-dialog").waitFor({ state: "detached" });
      await eventually("the row has the focus again", () =>
        portal.page.evaluate((id) => document.activeElement?.dataset.testid === id, `open-${auditor.name}`),
      );
      await portal.page.keyboard.press("Enter");
      await portal.by("user-unlock").click();
      await portal.by("user-done").getByText("knew of no wrong passwords").waitFor();
      await portal.by("user-role-of").selectOption("auditor");
      await portal.by("confirm-accept").click();
      await portal.by("user-done").getByText("They are auditor now.").waitFor();
      await portal.by("user-close").click();
      await row.getByText("auditor", { exact: true }).waitFor();

      const looking = await signedIn(auditor);
      await looking.by("operate").click();
      await looking.by("tab-users").click();
      await looking.by(`users-row-${auditor.name}`).waitFor();
      assert.ok(await looking.by("user-add").isDisabled());
      await looking.by("tab-hosts").click();
      await looking.by(`open-${host}`).click();
      await looking.by("host-close").waitFor();
      assert.ok(await looking.by("host-drain").isDisabled());
      await looking.by("host-close").click();
      await looking.by("tab-audit").click();
      await looking.by("audit-row").getByText("set-role").first().waitFor();
    } finally {
      await operator.run(["user", "delete", auditor.name]);
    }
  });

  it("make a group, its members, and a pool that is open to it", async () => {
    const portal = await operating("groups");
    const group = "browser-crew";
    try {
      await portal.by("group-add").click();
      await portal.by("group-name").fill(group);
      await portal.by("group-save").click();
      await portal.by("member-name").fill(`${system.user.name} nobody-of-this-name`);
      await portal.by("member-add").click();
      await portal.by("group-dialog").getByText("nobody-of-this-name").first().waitFor();
      assert.equal(await portal.by("member-name").inputValue(), "nobody-of-this-name", "who is in is not typed again");
      const { members } = await operator.json(["group", "members", group]);
      assert.deepEqual(members.map(({ user }) => user), [system.user.name]);
      await operator.run(["pool", "set", "browser-made", "--image", "demo:stable", "--disk", "256MiB", "--groups", group]);
      await portal.by("group-close").click();
      await portal.page.reload();
      await portal.by(`groups-row-${group}`).getByText("browser-made").waitFor();
      await portal.by(`open-${group}`).click();
      await portal.by("group-delete").click();
      await portal.by("confirm-accept").click();
      await portal.by("error-message").getByText("browser-made").waitFor();
      await portal.by(`member-${system.user.name}-remove`).click();
      await portal.by("members").getByText(system.user.name).waitFor({ state: "detached" });
      await operator.run(["pool", "delete", "browser-made"]);
      await portal.by("group-delete").click();
      await portal.by("confirm-accept").click();
      await portal.by(`groups-row-${group}`).waitFor({ state: "detached" });
    } finally {
      // What a test that failed has left.
      await operator.run(["pool", "delete", "browser-made"]).catch(() => {});
      await operator.run(["group", "delete", group]).catch(() => {});
    }
  });

  it("tell of each act as it is noted, by what is asked for, and give it as a file", async () => {
    const portal = await operating("audit");
    await portal.by("audit-row").first().waitFor();
    await operator.run(["group", "create", "browser-noted"]);
    // More than a page of it; a member that is in is put in again.
    await operator.run(["group", "add", "browser-noted", ...Array(110).fill(system.user.name)]);
    await operator.run(["group", "delete", "browser-noted"]);
    const noted = portal.by("audit-row").filter({ hasText: "group:browser-noted" });
    await noted.filter({ hasText: "delete-group" }).waitFor();
    await noted.filter({ hasText: "delete-group" }).getByRole("button").click();
    await portal.by("audit-dialog").getByText("Delete a group").waitFor();
    await portal.by("audit-same-object").click();
    const only = (text, least) =>
      eventually(`only those with ${text} are listed`, async () => {
        const rows = await portal.by("audit-row").allInnerTexts();
        return rows.length >= least && rows.every((row) => row.includes(text));
      });
    await only("group:browser-noted", 100);
    assert.equal(await noted.filter({ hasText: "create-group" }).count(), 0, "it is further back");
    await portal.by("audit-older").click();
    await noted.filter({ hasText: "create-group" }).waitFor();
    await portal.by("audit-older").waitFor({ state: "detached" });
    await portal.by("audit-act").selectOption("delete-group");
    await portal.by("audit-text").fill("BROWSER-noted");
    await portal.by("audit-ask").click();
    await only("delete-group", 1);
    for (const [kind, line] of [["jsonl", '"act":"delete-group"'], ["csv", ",delete-group,"]]) {
      const [download] = await Promise.all([portal.page.waitForEvent("download"), portal.by(`audit-${kind}`).click()]);
      assert.match(download.suggestedFilename(), new RegExp(`^audit-.*\\.${kind}$`));
      assert.ok((await readFile(await download.path(), "utf8")).includes(line), kind);
    }
  });

  it("keep, roll back and delete what is kept for somebody", async () => {
    const id = `demo-keep/${system.user.name}`;
    await cli.run(["desktop", "start", "demo-keep"]);
    await cli.inDesktop("demo-keep", "echo before > ~/mine");
    const portal = await operating("data");
    await portal.by(`open-${id}`).click();
    await portal.by("snapshot-name").fill("browser");
    await portal.by("snapshot-make").click();
    await portal.by("data-done").getByText("The snapshot browser is made.").waitFor();
    assert.ok(await portal.by("data-delete").isDisabled(), "not while a desktop uses it");
    await cli.inDesktop("demo-keep", "echo after > ~/mine");
    await cli.run(["desktop", "stop", "demo-keep"]);
    await portal.page.reload();
    await portal.by(`open-${id}`).click();
    await portal.by("snapshot-browser-roll-back").click();
    await portal.by("confirm-word").fill("something else");
    assert.ok(await portal.by("confirm-accept").isDisabled());
    await portal.by("confirm-word").fill(id);
    await portal.by("confirm-accept").click();
    await portal.by("data-done").getByText("It is what it was.").waitFor();
    await cli.run(["desktop", "start", "demo-keep"]);
    assert.equal((await cli.inDesktop("demo-keep", "cat ~/mine")).trim(), "before");
    await cli.run(["desktop", "stop", "demo-keep"]);
    await portal.page.reload();
    await portal.by(`open-${id}`).click();
    await portal.by("data-trim").click();
    await portal.by("data-done").getByText("given back").waitFor();
    await portal.by("data-delete").click();
    await portal.by("confirm-word").fill(id);
    await portal.by("confirm-accept").click();
    await portal.by(`data-row-${id}`).waitFor({ state: "detached" });
    const { data } = await operator.json(["data", "list", "--all"]);
    assert.ok(!data.some((one) => one.id === id));
  });

  it("let everybody set up a second factor and tokens of their own", async () => {
    const person = { name: "browser-person", password: "a long way to go 12" };
    await operator.run(["user", "add", person.name, "--password-stdin"], person.password);
    try {
      const portal = await signedIn(person);
      await portal.by("user-menu").click();
      await portal.by("account").click();

      await portal.by("token-add").click();
      await portal.by("token-name").fill("job");
      assert.equal(await portal.by("token-scope-admin").count(), 0, "of no use to a user");
      await portal.by("token-save").click();
      const token = await portal.by("token-text").innerText();
      await portal.by("token-kept").click();
      assert.ok((await cli.runWithToken(token.trim(), ["whoami"])).includes(person.name));
      await portal.by("token-job-revoke").click();
      await portal.by("confirm-accept").click();
      await portal.by("token-job").waitFor({ state: "detached" });
      await assert.rejects(cli.runWithToken(token.trim(), ["whoami"]));

      await portal.by("second-factor-on").click();
      await portal.by("totp-password").fill("not this");
      await portal.by("totp-begin").click();
      await portal.by("error-message").getByText("password").waitFor();
      await portal.by("totp-password").fill(person.password);
      await portal.by("totp-begin").click();
      await portal.by("qr").waitFor();
      const secret = await portal.by("totp-secret").innerText();
      await portal.by("totp-code").fill(codeOf(secret));
      await portal.by("totp-confirm-submit").click();
      const codes = (await portal.by("recovery-codes").innerText()).trim().split("\n");
      assert.equal(codes.length, 10);
      await portal.by("recovery-kept").click();
      await portal.by("second-factor-off").waitFor();

      await portal.signOut();
      await portal.signIn(person);
      await portal.by("sign-in-code").fill(codes[0]);
      await portal.by("sign-in-submit").click();
      await portal.by("second-factor-off").click();
      await portal.by("totp-password").fill(person.password);
      await portal.by("totp-code").fill(codes[1]);
      await portal.by("totp-disable").click();
      await portal.by("second-factor-on").waitFor();
    } finally {
      await operator.run(["user", "delete", person.name]);
    }
  });

  it("tell users something, and end their connection and their session", async () => {
    const person = await signedIn(system.user);
    await person.openDesktop("demo");
    const desktop = `demo/${system.user.name}`;
    const portal = await operating("sessions");
    await portal.by(`sessions-row-${desktop}`).getByText(system.user.name, { exact: true }).waitFor();
    await portal.by("session-tell").click();
    await portal.by("message-text").fill("Maintenance at five. <b>Save</b>");
    await portal.by("message-to").selectOption("pool:demo");
    await portal.by("message-send").click();
    await portal.by("message-sent").getByText("Given to 1 desktop; somebody was looking at 1.").waitFor();
    await person.by("notice").getByText("Maintenance at five. <b>Save</b>").waitFor();
    await person.by("notice-read").click();
    await person.by("notice").waitFor({ state: "detached" });
    await portal.page.keyboard.press("Escape");

    await portal.by(`open-${desktop}`).click();
    await portal.by("session-reason").fill("the room is being locked");
    await portal.by("session-disconnect").click();
    await person.by("sent-away-message").getByText("The room is being locked.").waitFor();
    await portal.by("session-done").getByText("was sent away").waitFor();
    await person.by("connect-again").click();
    await person.screen.shown();
    await portal.by("session-kill").click();
    await portal.by("confirm-accept").click();
    await portal.by(`sessions-row-${desktop}`).waitFor({ state: "detached" });
    await eventually("it is gone", async () => !(await cli.desktopStates()).has("demo"));
  });

  it("fit on a phone", async () => {
    const portal = await operating("overview", PHONE);
    for (const tab of TABS) {
      await portal.by(`tab-${tab}`).click();
      await portal.by(`page-${tab}`).waitFor();
      const overflow = await portal.page.evaluate(() => document.scrollingElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${tab} is wider than the phone`);
    }
    await portal.page.goto(`${system.url}/#/account`);
    await portal.by("account-page").waitFor();
    const overflow = await portal.page.evaluate(() => document.scrollingElement.scrollWidth - window.innerWidth);
    assert.ok(overflow <= 0, "the account is wider than the phone");
  });
});
