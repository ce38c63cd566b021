import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useOwnAct } from "../../act";
import { ErrorNotice } from "../../ui/notice";
import { save } from "../../ui/save";
import { auditFile } from "../api/audit";
import { useCluster } from "../data";
import type { AuditQuery } from "../model/audit";
import type { FileKind } from "../model/audit-file";

/** Gives everything that fits as a file, the oldest first. */
export function AuditExport({ query }: { query: AuditQuery }): VNode {
  const { clients } = useCluster();
  const { busy, message, act } = useOwnAct();
  const [count, setCount] = useState(0);
  const running = useRef<AbortController | undefined>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  const run = async (kind: FileKind): Promise<void> => {
    const stop = new AbortController();
    running.current = stop;
    setCount(0);
    await act(async () => {
      const file = await auditFile(clients.audit, query, kind, setCount, stop.signal).catch((error: unknown) => {
        if (stop.signal.aborted) return undefined;
        throw error;
      });
      if (file !== undefined) save(file, `audit-${new Date().toISOString().slice(0, 10)}.${kind}`);
    });
  };
  if (busy) {
    return (
      <span class="actions" role="status">
        <span class="quiet">{count} entries…</span>
        <button type="button" class="button button-small" onClick={() => running.current?.abort()}>
          Cancel
        </button>
      </span>
    );
  }
  return (
    <span class="actions">
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      {(["jsonl", "csv"] as const).map((kind) => (
        <button key={kind} type="button" class="button button-small" data-testid={`audit-${kind}`} onClick={() => void run(kind)}>
          Save as {kind === "csv" ? "CSV" : "JSON lines"}
        </button>
      ))}
    </span>
  );
}
