import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed } from "../../act";
import type { Pool } from "../../gen/rolltop/v1/broker_pb";
import { formatBytes } from "../../model/format";
import { useSession } from "../../session";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { RowName } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { openTo } from "../model/groups";
import { Grid } from "../ui/grid";
import { Explanation } from "./explanation";
import { PoolForm } from "./pool-form";

const EVERY_MS = 10_000;
const MIB = 1024n * 1024n;

type Open =
  | { readonly kind: "new" }
  | { readonly kind: "edit" | "delete" | "explain"; readonly pool: Pool };

/** All pools, and what can be done with them. */
export function PoolsPage(): VNode {
  const { broker } = useSession();
  const { desktops } = useCluster();
  const { listed, message, again } = useListed((signal) => broker.listPools({ all: true }, { signal }), EVERY_MS);
  const { busy, message: refused, act } = useAct();
  const [open, setOpen] = useState<Open>();
  const close = (): void => setOpen(undefined);
  const inUse = new Map<string, number>();
  for (const { pool } of desktops?.values() ?? []) inUse.set(pool, (inUse.get(pool) ?? 0) + 1);

  const remove = async (name: string): Promise<void> => {
    close();
    if (await act(() => broker.deletePool({ name }))) again();
  };
  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      {refused !== "" && <ErrorNotice>{refused}</ErrorNotice>}
      <Grid
        name="pools"
        rows={listed?.pools}
        rowKey={({ name }) => name}
        empty="There is no pool yet. People can open desktops once there is one."
        columns={[
          { title: "Pool", value: ({ name }) => name, show: (pool) => <RowName name={pool.name} onOpen={() => setOpen({ kind: "edit", pool })} /> },
          { title: "Title", value: ({ title }) => title },
          { title: "Image", value: ({ image }) => image },
          { title: "Kept", value: ({ persistent }) => (persistent ? "yes" : "no") },
          { title: "Disk", value: ({ overlaySizeMib }) => Number(overlaySizeMib), show: ({ overlaySizeMib }) => formatBytes(overlaySizeMib * MIB) },
          {
            title: "Memory",
            value: ({ limits }) => Number(limits?.memoryMib ?? 0n),
            show: ({ limits }) => (limits === undefined || limits.memoryMib === 0n ? "no limit" : formatBytes(limits.memoryMib * MIB)),
          },
          {
            title: "Open to",
            value: ({ users, groups, closed }) => (closed === "" ? [...groups, ...users].join(" ") || "everyone" : "closed"),
            show: (pool) => (pool.closed === "" ? openTo(pool) : <span title={pool.closed}>nobody: closed</span>),
          },
          {
            title: "Desktops",
            value: ({ name }) => inUse.get(name) ?? 0,
            show: ({ name, maxDesktops }) => `${inUse.get(name) ?? 0}${maxDesktops === 0 ? "" : ` of ${maxDesktops}`}`,
          },
          {
            title: "Made ahead",
            value: ({ warmReady }) => warmReady,
            show: ({ warm, warmReady, warmProblem }) =>
              warm > 0 && <span title={warmProblem}>{`${warmReady} of ${warm}${warmProblem === "" ? "" : " (!)"}`}</span>,
          },
          {
            title: "Acts",
            value: () => "",
            show: (pool) => (
              <span class="actions">
                <button type="button" class="button button-small" onClick={() => setOpen({ kind: "explain", pool })}>
                  Placement
                </button>
                <button
                  type="button"
                  class="button button-small"
                  disabled={busy}
                  aria-label={`Delete ${pool.name}`}
                  data-testid={`pool-${pool.name}-delete`}
                  onClick={() => setOpen({ kind: "delete", pool })}
                >
                  Delete
                </button>
              </span>
            ),
          },
        ]}
      >
        <button type="button" class="button" disabled={busy} data-testid="pool-add" onClick={() => setOpen({ kind: "new" })}>
          Make a pool
        </button>
      </Grid>
      {(open?.kind === "new" || open?.kind === "edit") && (
        <PoolForm
          {...(open.kind === "edit" ? { before: open.pool } : {})}
          taken={listed?.pools.map(({ name }) => name) ?? []}
          onSaved={() => {
            close();
            again();
          }}
          onClose={close}
        />
      )}
      {open?.kind === "explain" && (
        <Dialog title={`Placement: ${open.pool.name}`} onClose={close}>
          <div class="wide">
            <Explanation pool={open.pool.name} user="" />
            <div class="actions actions-end">
              <button type="button" class="button button-primary" onClick={close}>
                Close
              </button>
            </div>
          </div>
        </Dialog>
      )}
      {open?.kind === "delete" && (
        <Confirm
          title={`Delete the pool ${open.pool.name}?`}
          text="Nobody can open a desktop of it any more. While there are desktops or kept data of it, it is not deleted."
          action="Delete"
          onConfirm={() => void remove(open.pool.name)}
          onClose={close}
        />
      )}
    </>
  );
}
