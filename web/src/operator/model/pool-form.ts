import { clone, create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import {
  HomePolicySchema,
  HostPolicySchema,
  type Pool,
  PoolSchema,
  Strategy,
  TimeLimitsSchema,
} from "../../gen/rolltop/v1/broker_pb";
import { LimitsSchema, NetworkPolicySchema } from "../../gen/rolltop/v1/common_pb";
import { namesOf } from "./groups";
import { lengthText, parseLength } from "./lengths";

/** A pool as text in a form. */
export interface PoolDraft {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly image: string;
  readonly persistent: boolean;
  readonly diskMib: string;
  readonly memoryMib: string;
  readonly cpuMillis: string;
  readonly pids: string;
  readonly networkDownBits: string;
  readonly networkUpBits: string;
  readonly diskReadBytes: string;
  readonly diskWriteBytes: string;
  readonly diskOps: string;
  readonly runtime: string;
  readonly users: string;
  readonly groups: string;
  readonly warm: string;
  readonly maxDesktops: string;
  readonly closed: string;
  readonly idle: string;
  readonly disconnected: string;
  readonly total: string;
  readonly warning: string;
  readonly home: "overlay" | "volume" | "directory";
  readonly homeMib: string;
  readonly homeDirectory: string;
  readonly egress: string;
  readonly strategy: string;
  readonly require: string;
  readonly forbid: string;
  readonly prefer: string;
  readonly avoid: string;
}

/** What a desktop may use: a number each, or nothing for no limit. */
const LIMIT_FIELDS = [
  "memoryMib",
  "cpuMillis",
  "pids",
  "networkDownBits",
  "networkUpBits",
  "diskReadBytes",
  "diskWriteBytes",
  "diskOps",
] as const;

/** More desktops than anybody has. */
const MOST = 1_000_000n;

/** What is wrong, by field; a sentence each. */
export type Faults = Readonly<Partial<Record<keyof PoolDraft, string>>>;

const lines = (items: readonly string[]): string => items.join("\n");
const number = (value: bigint | undefined): string => (value === undefined || value === 0n ? "" : String(value));

/** The form for a pool; for a new one without it. */
export function draftOf(pool?: Pool): PoolDraft {
  const from = pool ?? create(PoolSchema, { overlaySizeMib: 4096n });
  const { kind } = from.home ?? create(HomePolicySchema);
  return {
    name: from.name,
    title: from.title,
    description: from.description,
    image: from.image,
    persistent: from.persistent,
    diskMib: number(from.overlaySizeMib),
    memoryMib: number(from.limits?.memoryMib),
    cpuMillis: number(from.limits?.cpuMillis),
    pids: number(from.limits?.pids),
    networkDownBits: number(from.limits?.networkDownBits),
    networkUpBits: number(from.limits?.networkUpBits),
    diskReadBytes: number(from.limits?.diskReadBytes),
    diskWriteBytes: number(from.limits?.diskWriteBytes),
    diskOps: number(from.limits?.diskOps),
    runtime: from.runtime,
    users: lines(from.users),
    groups: lines(from.groups),
    warm: number(BigInt(from.warm)),
    maxDesktops: number(BigInt(from.maxDesktops)),
    closed: from.closed,
    idle: lengthText(from.timeLimits?.idle),
    disconnected: lengthText(from.timeLimits?.disconnected),
    total: lengthText(from.timeLimits?.total),
    warning: lengthText(from.timeLimits?.warning),
    home: kind.case === "volumeMib" ? "volume" : kind.case === "directory" ? "directory" : "overlay",
    homeMib: kind.case === "volumeMib" ? String(kind.value) : "",
    homeDirectory: kind.case === "directory" ? kind.value : "",
    egress: lines(from.network?.egress ?? []),
    strategy: String(from.hosts?.strategy ?? Strategy.UNSPECIFIED),
    require: lines(from.hosts?.require ?? []),
    forbid: lines(from.hosts?.forbid ?? []),
    prefer: lines(from.hosts?.prefer ?? []),
    avoid: lines(from.hosts?.avoid ?? []),
  };
}

/**
 * The pool a form describes, and what is wrong with it. What this page does not
 * know of an existing pool stays as it was. The server checks everything again.
 */
export function poolOf(draft: PoolDraft, before?: Pool): { readonly pool: Pool; readonly faults: Faults } {
  const faults: Partial<Record<keyof PoolDraft, string>> = {};
  const whole = (field: keyof PoolDraft, empty: string): bigint => {
    const text = String(draft[field]).trim();
    if (text === "" && empty === "") return 0n;
    if (/^[0-9]{1,12}$/.test(text)) return BigInt(text);
    faults[field] = `“${text}” is no whole number${empty}.`;
    return 0n;
  };
  const count = (field: keyof PoolDraft): number => {
    const number = whole(field, "");
    if (number <= MOST) return Number(number);
    faults[field] = `“${number}” is too many: ${MOST} at most.`;
    return 0;
  };
  if (!/^[a-z0-9-]{1,40}$/.test(draft.name)) {
    faults.name = "Use lower-case letters, digits and “-”; 40 at most.";
  }
  if (!/^[^:@\s]+[:@][^:@\s]+$/.test(draft.image.trim())) {
    faults.image = "Name an image and a tag or a version: image:tag or image@version, such as demo:stable.";
  }
  if (draft.home === "directory" && !draft.homeDirectory.startsWith("/")) {
    faults.homeDirectory = "Name a directory that every host has, such as /srv/homes.";
  }
  const pool = before === undefined ? create(PoolSchema) : clone(PoolSchema, before);
  pool.name = draft.name;
  pool.title = draft.title.trim();
  pool.description = draft.description.trim();
  pool.image = draft.image.trim();
  pool.persistent = draft.persistent;
  pool.overlaySizeMib = whole("diskMib", " of MiB, such as 4096");
  const limits = pool.limits ?? create(LimitsSchema);
  for (const name of LIMIT_FIELDS) limits[name] = whole(name, "");
  pool.limits = limits;
  pool.runtime = draft.runtime.trim();
  pool.users = namesOf(draft.users);
  pool.groups = namesOf(draft.groups);
  pool.warm = count("warm");
  pool.maxDesktops = count("maxDesktops");
  pool.closed = draft.closed.trim();
  setTimeLimits(pool, draft, faults);
  setHome(pool, draft, whole);
  const egress = draft.egress.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  if (egress.length > 0 || pool.network !== undefined) {
    pool.network = pool.network ?? create(NetworkPolicySchema);
    pool.network.egress = egress;
  }
  const hosts = pool.hosts ?? create(HostPolicySchema);
  hosts.strategy = Number(draft.strategy);
  hosts.require = namesOf(draft.require);
  hosts.forbid = namesOf(draft.forbid);
  hosts.prefer = namesOf(draft.prefer);
  hosts.avoid = namesOf(draft.avoid);
  pool.hosts = hosts;
  return { pool, faults };
}

function setHome(pool: Pool, draft: PoolDraft, whole: (field: keyof PoolDraft, empty: string) => bigint): void {
  switch (draft.home) {
    case "overlay":
      delete pool.home;
      return;
    case "volume":
      pool.home = create(HomePolicySchema, { kind: { case: "volumeMib", value: whole("homeMib", " of MiB, such as 2048") } });
      return;
    case "directory":
      pool.home = create(HomePolicySchema, { kind: { case: "directory", value: draft.homeDirectory.trim() } });
  }
}

const LIMITS = ["idle", "disconnected", "total", "warning"] as const;

function setTimeLimits(pool: Pool, draft: PoolDraft, faults: Partial<Record<keyof PoolDraft, string>>): void {
  const limits = create(TimeLimitsSchema);
  for (const name of LIMITS) {
    const seconds = parseLength(draft[name]);
    if (seconds === undefined) {
      faults[name] = `“${draft[name].trim()}” is no length of time. Write 45s, 30min, 8h or 2d, or nothing for no limit.`;
    } else if (seconds > 0) {
      limits[name] = create(DurationSchema, { seconds: BigInt(seconds) });
    }
  }
  if (LIMITS.some((name) => limits[name] !== undefined)) pool.timeLimits = limits;
  else delete pool.timeLimits;
}
