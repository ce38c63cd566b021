import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { eventually } from "./eventually.mjs";

/** A port that is free at this moment. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A broker without hosts, beside the system: its own state, its own configuration. */
export class Broker {
  #child;
  #log = "";

  /** With the programs of the system, and nothing started. */
  static async prepare(cli, port) {
    const broker = new Broker();
    broker.dir = await mkdtemp(join(tmpdir(), "rolltop-broker-"));
    broker.program = join(dirname(cli), "rolltop-broker");
    broker.config = join(broker.dir, "broker.toml");
    broker.base = `listen = "127.0.0.1:${port}"\nstate_dir = ${JSON.stringify(join(broker.dir, "state"))}\n`;
    broker.system = { url: `https://localhost:${port}`, ca: join(broker.dir, "state/ca.pem"), cli };
    await writeFile(broker.config, broker.base);
    return broker;
  }

  /** Makes an account, while it does not run. */
  async addUser(name, password, ...options) {
    const child = this.#run(["user", "add", name, "--password-stdin", ...options]);
    child.stdin.end(`${password}\n`);
    const code = await new Promise((resolve) => child.on("close", resolve));
    if (code !== 0) throw new Error(`user add: ${code}: ${this.#log}`);
  }

  /** `more`: further lines of configuration. */
  async start(more) {
    await writeFile(this.config, this.base + more);
    this.#child = this.#run([]);
    await eventually("the broker answers", async () => {
      if (this.#child.exitCode !== null) throw new Error(`the broker has ended: ${this.#log}`);
      return healthy(this.system.url);
    });
  }

  async stop() {
    if (this.#child === undefined || this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.on("close", resolve));
    this.#child.kill("SIGTERM");
    await ended;
  }

  async close() {
    await this.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  #run(args) {
    const child = spawn(this.program, ["--config", this.config, ...args]);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (this.#log += text));
    return child;
  }
}

/** Who it is does not matter here: its certificate is its own. */
function healthy(url) {
  return new Promise((resolve, reject) => {
    get(`${url}/healthz`, { rejectUnauthorized: false }, ({ statusCode }) => resolve(statusCode === 200)).on("error", reject);
  });
}
