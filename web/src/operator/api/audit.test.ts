import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { Audit, AuditEntrySchema, type ListAuditRequest, type WatchAuditRequest } from "../../gen/rolltop/v1/audit_pb";
import { EVERYTHING } from "../model/audit";
import { auditFile, olderEntries, tail } from "./audit";

const entry = (number: number, user = "ada") =>
  create(AuditEntrySchema, { id: String(number), at: timestampFromMs(number * 1000), act: "put-pool", user });

/** A server that answers pages by their tokens, and notes what it is asked. */
function paged(pages: Record<string, { users: string[]; next: string }>) {
  const asked: ListAuditRequest[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(Audit, {
      listAudit: (request) => {
        asked.push(request);
        const { users, next } = pages[request.pageToken] ?? { users: [], next: "" };
        return { entries: users.map((user, place) => entry(100 - place, user)), nextPageToken: next };
      },
    });
  });
  return { audit: createClient(Audit, transport), asked };
}

test("words that are rare are looked for on further pages", async () => {
  const { audit, asked } = paged({ "": { users: ["ada", "bob"], next: "b" }, b: { users: ["eve"], next: "c" }, c: { users: ["bob"], next: "" } });
  const found = await olderEntries(audit, { ...EVERYTHING, text: "bob" }, undefined, new AbortController().signal);
  assert.equal(found.entries.length, 2);
  assert.equal(found.nextToken, "");
  assert.equal(found.newest && timestampMs(found.newest), 100_000, "of the newest looked at, not of the newest that fits");
  assert.deepEqual(asked.map(({ pageToken }) => pageToken), ["", "b", "c"]);
});

test("a file has every page, the oldest first", async () => {
  const { audit, asked } = paged({ "": { users: ["ada"], next: "b" }, b: { users: ["=bob"], next: "" } });
  const counts: number[] = [];
  const file = await auditFile(audit, EVERYTHING, "csv", (count) => counts.push(count), new AbortController().signal);
  const lines = (await file.text()).trimEnd().split("\r\n");
  assert.equal(lines.length, 3);
  assert.match(lines[2] ?? "", /,'=bob,/);
  assert.deepEqual(counts, [1, 2]);
  assert.ok(asked.every(({ oldestFirst }) => oldestFirst));
});

test("a tail is taken up where it broke", async () => {
  const stop = new AbortController();
  const asked: WatchAuditRequest[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(Audit, {
      async *watchAudit(request) {
        asked.push(request);
        yield entry(asked.length * 10);
        throw new ConnectError("away", Code.Unavailable);
      },
    });
  });
  const seen: string[] = [];
  let interruptions = 0;
  const listener = {
    entry: ({ id }: { id: string }) => void seen.push(id),
    interrupted: () => void (interruptions += 1),
    back: () => {},
  };
  const audit = createClient(Audit, transport);
  const pause = async (): Promise<void> => {
    if (interruptions === 2) stop.abort();
  };
  await tail(audit, EVERYTHING, timestampFromMs(5_000), listener, stop.signal, pause);
  assert.deepEqual(seen, ["10", "20"]);
  assert.deepEqual(asked.map(({ filter }) => Number(filter?.from?.seconds)), [5, 10]);
});
