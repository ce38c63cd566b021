import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useListed, useOwnAct } from "../../act";
import { problemOf } from "../../api/errors";
import type { ActInfo, AuditEntry } from "../../gen/rolltop/v1/audit_pb";
import { formatWhen } from "../../model/format";
import { endsSession, useSession } from "../../session";
import { ErrorNotice } from "../../ui/notice";
import { State } from "../../ui/parts";
import { olderEntries, tail } from "../api/audit";
import { useCluster } from "../data";
import { type AuditQuery, EVERYTHING, NO_TRAIL, type Trail, outcomeLook, withNew, withOlder } from "../model/audit";
import { AuditDialog } from "./audit-dialog";
import { AuditExport } from "./audit-export";
import { AuditForm } from "./audit-form";

const NO_ACTS: readonly ActInfo[] = [];

/** Who did what, from where, and what came of it: as it happens, and back through what is kept. */
export function AuditPage(): VNode {
  const { clients } = useCluster();
  const [query, setQuery] = useState<AuditQuery>(EVERYTHING);
  const [live, setLive] = useState(true);
  const [open, setOpen] = useState<AuditEntry>();
  const { listed: acts = NO_ACTS } = useListed(async (signal) => (await clients.audit.listActs({}, { signal })).acts, 600_000);
  // What is over does not grow.
  const following = live && query.to === "";
  const { trail, message, busy, older } = useTrail(query, following);
  const ask = (change: Partial<AuditQuery>): void => {
    setQuery({ ...query, ...change });
    setOpen(undefined);
  };
  return (
    <>
      <AuditForm query={query} acts={acts} onAsk={setQuery} />
      <div class="grid-bar">
        <label class="check">
          <input
            type="checkbox"
            checked={following}
            disabled={query.to !== ""}
            data-testid="audit-live"
            onChange={(event) => setLive(event.currentTarget.checked)}
          />
          Live
        </label>
        <span class="quiet" role="status" data-testid="audit-count">
          {trail.rows.length}
          {trail.older !== undefined && " or more"}
        </span>
        <span class="grid-acts">
          <AuditExport query={query} />
        </span>
      </div>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      {trail.past && (
        <p class="notice" role="status">
          <span>Newer entries have made room for these. </span>
          <button type="button" class="row-name" onClick={() => setQuery({ ...query })}>
            Back to the newest
          </button>
        </p>
      )}
      <Entries trail={trail} busy={busy} onOpen={setOpen} />
      {trail.older !== undefined && (
        <nav class="grid-pages" aria-label="Older entries">
          <button type="button" class="button" aria-busy={busy} disabled={busy} data-testid="audit-older" onClick={older}>
            {busy ? "Looking…" : "Older entries"}
          </button>
        </nav>
      )}
      {open !== undefined && <AuditDialog entry={open} acts={acts} onAsk={ask} onClose={() => setOpen(undefined)} />}
    </>
  );
}

/** What answers a question: the newest page, what is written since, and older ones by and by. */
function useTrail(query: AuditQuery, following: boolean) {
  const session = useSession();
  const { clients } = useCluster();
  const { busy, message, act } = useOwnAct();
  const [trail, setTrail] = useState<Trail>(NO_TRAIL);
  const [since, setSince] = useState<{ readonly at: Timestamp | undefined }>();
  const [interrupted, setInterrupted] = useState("");
  const asked = useRef(new AbortController());

  const look = (before: Trail, signal: AbortSignal): Promise<boolean> =>
    act(async () => {
      const found = await olderEntries(clients.audit, query, before.older, signal).catch((error: unknown) => {
        if (signal.aborted) return undefined;
        throw error;
      });
      if (found === undefined || signal.aborted) return;
      setTrail((now) => withOlder(before === NO_TRAIL ? NO_TRAIL : now, found.entries, found.nextToken));
      if (before === NO_TRAIL) setSince({ at: found.newest });
    });
  useEffect(() => {
    const stop = new AbortController();
    asked.current = stop;
    setSince(undefined);
    setTrail(NO_TRAIL);
    void look(NO_TRAIL, stop.signal);
    return () => stop.abort();
  }, [query, following]);
  useEffect(() => {
    if (!following || since === undefined) return undefined;
    const stop = new AbortController();
    const listener = {
      entry: (entry: AuditEntry) => setTrail((before) => withNew(before, entry)),
      interrupted: (problem: ReturnType<typeof problemOf>) => {
        if (!endsSession(session, problem)) setInterrupted(`${problem.message} Trying again…`);
      },
      back: () => setInterrupted(""),
    };
    void tail(clients.audit, query, since.at, listener, stop.signal);
    return () => stop.abort();
  }, [session, clients, following, since]);
  const older = (): void => void look(trail, asked.current.signal);
  return { trail, busy, message: message === "" ? interrupted : message, older };
}

function Entries({ trail, busy, onOpen }: { trail: Trail; busy: boolean; onOpen: (entry: AuditEntry) => void }): VNode {
  const rows = useMemo(
    () =>
      trail.rows.map((entry) => (
        <tr key={entry.id} data-testid="audit-row">
          <td>
            <button type="button" class="row-name" onClick={() => onOpen(entry)}>
              {formatWhen(entry.at)}
            </button>
          </td>
          <td>{entry.act}</td>
          <td class="cell-cut">{entry.user === "" ? entry.via : entry.user}</td>
          <td>{entry.from}</td>
          <td class="cell-cut">{entry.object}</td>
          <td>
            <State look={outcomeLook(entry.outcome)} />
          </td>
          <td class="cell-cut">{entry.reason}</td>
        </tr>
      )),
    [trail.rows],
  );
  return (
    <div class="card grid-scroll" role="region" aria-label="audit" tabIndex={0} aria-busy={busy}>
      <table class="grid" data-testid="audit">
        <thead>
          <tr>
            {["When", "Act", "Who", "From", "To what", "Outcome", "Why"].map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{rows}</tbody>
      </table>
      {rows.length === 0 && (
        <p class="grid-empty quiet">
          {busy ? "Looking…" : trail.older === undefined ? "Nothing that fits was noted." : "Nothing that fits so far: it goes on further back."}
        </p>
      )}
    </div>
  );
}
