import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "./eventually.mjs";

/** The command line `rolltop`, signed in as somebody, with files of its own. */
export class Cli {
  #system;
  #home;

  static async signedIn(system, { name, password }) {
    const cli = new Cli(system, await mkdtemp(join(tmpdir(), "rolltop-cli-")));
    await cli.run(["login", "--user", name, "--password-stdin"], password);
    return cli;
  }

  constructor(system, home) {
    this.#system = system;
    this.#home = home;
  }

  /** Standard output of a command; an error with its message if it fails. */
  async run(args, input = "") {
    const { code, stdout, stderr } = await this.#spawn(args, input);
    if (code !== 0) throw new Error(`rolltop ${args.join(" ")}: exit code ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** What a command prints for programs. */
  async json(args) {
    return JSON.parse(await this.run([...args, "--output", "json"]));
  }

  /** As `run`, as a program that has a token and no session. */
  async runWithToken(token, args) {
    const { code, stdout, stderr } = await this.#spawn(args, "", { ROLLTOP_TOKEN: token });
    if (code !== 0) throw new Error(`rolltop ${args.join(" ")}: exit code ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Standard output of a shell script in a desktop, run as its user. */
  async inDesktop(pool, script) {
    return this.run(["desktop", "exec", "-n", pool, "--", "sh", "-c", script]);
  }

  /** The states of one's desktops by pool. */
  async desktopStates() {
    const { desktops } = await this.json(["desktop", "list"]);
    return new Map(desktops.map((desktop) => [desktop.pool, desktop.state]));
  }

  /** Ends every desktop of one's own. */
  async stopAll() {
    for (const [pool, state] of await this.desktopStates()) {
      if (!["failed", "gone"].includes(state)) await this.run(["desktop", "stop", pool]);
    }
  }

  async close() {
    await rm(this.#home, { recursive: true, force: true });
  }

  /** Begins a command that somebody talks with. */
  start(args, more = {}) {
    const { url, ca, cli } = this.#system;
    const env = {
      ...process.env,
      ROLLTOP_SERVER: url,
      ROLLTOP_CA: ca,
      XDG_CONFIG_HOME: this.#home,
      XDG_STATE_HOME: this.#home,
      ...more,
    };
    return new Talk(spawn(cli, args, { env }));
  }

  async #spawn(args, input, more = {}) {
    const talk = this.start(args, more);
    talk.say(input);
    return { code: await talk.ended, ...talk.out };
  }
}

/** A command that runs. */
class Talk {
  out = { stdout: "", stderr: "" };
  #child;

  constructor(child) {
    this.#child = child;
    for (const stream of ["stdout", "stderr"]) {
      child[stream].setEncoding("utf8").on("data", (text) => (this.out[stream] += text));
    }
    /** Its exit code, in the end. */
    this.ended = new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    });
    // A command that does not read its input may end before it is written.
    child.stdin.on("error", () => {});
  }

  shown() {
    return this.out.stderr + this.out.stdout;
  }

  /** What it shows that is like this, once it does. */
  line(pattern) {
    return eventually(`${pattern} is shown`, () => pattern.exec(this.shown())?.[0]);
  }

  /** All that it is ever told. */
  say(text) {
    this.#child.stdin.end(text);
  }
}
