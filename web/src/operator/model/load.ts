import { HostState, type Host } from "../../gen/rolltop/v1/broker_pb";

/** How full a host was at a moment. */
export interface Load {
  readonly atMs: number;
  /** Share of its memory in use, percent. */
  readonly memory: number;
  /** Share of its places for desktops taken, percent. */
  readonly desktops: number;
}

/** Samples are this far apart at least, and there are never more than this many a host. */
export const SAMPLE_MS = 10_000;
export const SAMPLES = 360;

/** How full a host is; undefined while that is not known. */
export function loadOf(host: Host, nowMs: number): Load | undefined {
  const { info } = host;
  if (info === undefined || host.state === HostState.LOST || host.state === HostState.SUSPECT) return undefined;
  const percent = (part: bigint, whole: bigint): number => (whole > 0n ? (Number(part) / Number(whole)) * 100 : 0);
  return {
    atMs: nowMs,
    memory: percent(info.memoryBytes - info.memoryAvailableBytes, info.memoryBytes),
    desktops: percent(info.desktops, info.maxDesktops),
  };
}

/** The load of each host since the page was opened, an hour at most. */
export class Loads {
  readonly #byHost = new Map<string, Load[]>();

  /** Notes all hosts there are, and forgets the others. */
  note(hosts: ReadonlyMap<string, Host>, nowMs: number): void {
    for (const name of this.#byHost.keys()) if (!hosts.has(name)) this.#byHost.delete(name);
    for (const [name, host] of hosts) {
      const load = loadOf(host, nowMs);
      const noted = this.#byHost.get(name) ?? [];
      const last = noted.at(-1);
      if (load === undefined || (last !== undefined && nowMs - last.atMs < SAMPLE_MS)) continue;
      this.#byHost.set(name, [...noted.slice(1 - SAMPLES), load]);
    }
  }

  of(host: string): readonly Load[] {
    return this.#byHost.get(host) ?? [];
  }
}
