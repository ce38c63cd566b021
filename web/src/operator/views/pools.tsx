import type { VNode } from "preact";
import { useMemo, useState } from "preact/hooks";
import { useListed } from "../../act";
import type { Pool } from "../../gen/rolltop/v1/broker_pb";
import type { Rollout } from "../../gen/rolltop/v1/rollouts_pb";
import { formatBytes } from "../../model/format";
import { useSession } from "../../session";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { RowName, State } from "../../ui/parts";
import { useAct, useCluster, useFeed } from "../data";
import { openTo } from "../model/groups";
import { NO_DESKTOPS, type PoolCount, countedByPool, isUnderWay, rolloutLook } from "../model/rollouts";
import { Grid } from "../ui/grid";
import { Explanation } from "./explanation";
import { PoolForm } from "./pool-form";
import { RolloutDialog } from "./rollout-dialog";

const EVERY_MS = 10_000;
const ROLLOUTS_AGAIN_MS = 300_000;
const MIB = 1024n * 1024n;

type Open =
  | { readonly kind: "new" }
  | { readonly kind: "edit" | "delete" | "explain" | "rollout"; readonly pool: Pool };

/** All pools, and what can be done with them. */
export function PoolsPage(): VNode {
  const { broker } = useSession();
  const { clients, desktops } = useCluster();
  const { rows: rollouts, trouble } = useFeed<Rollout>(
    useMemo(
      () => ({
        list: async (signal) => (await clients.rollouts.listRollouts({}, { signal })).rollouts,
        watch: (signal) => clients.rollouts.watchRollouts({}, { signal }),
        key: ({ pool }) => pool,
        stays: () => true,
        againMs: ROLLOUTS_AGAIN_MS,
      }),
      [clients],
    ),
  );
  const { listed, message, again } = useListed((signal) => broker.listPools({ all: true }, { signal }), EVERY_MS);
  const { busy, message: refused, act } = useAct();
  const [open, setOpen] = useState<Open>();
  const close = (): void => setOpen(undefined);
  const counts = countedByPool(desktops?.values() ?? []);
  const countIn = (name: string): PoolCount => counts.get(name) ?? NO_DESKTOPS;

  /** Rolling back gives it another image. */
  const asIsNow = (pool: Pool): Pool => listed?.pools.find(({ name }) => name === pool.name) ?? pool;

  const remove = async (name: string): Promise<void> => {
    close();
    if (await act(() => broker.deletePool({ name }))) again();
  };
  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      {trouble !== undefined && <ErrorNotice>{trouble.message} Trying again…</ErrorNotice>}
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
          {
            title: "Disk",
            value: ({ overlaySizeMib }) => Number(overlaySizeMib),
            show: ({ overlaySizeMib, persistent }) => `${formatBytes(overlaySizeMib * MIB)}${persistent ? ", kept" : ""}`,
          },
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
            value: ({ name }) => countIn(name).all,
            show: ({ name, maxDesktops }) => `${countIn(name).all}${maxDesktops === 0 ? "" : ` of ${maxDesktops}`}`,
          },
          {
            title: "Behind",
            value: ({ name }) => countIn(name).behind,
            show: (pool) => (
              <Behind
                pool={pool.name}
                count={countIn(pool.name).behind}
                rollout={rollouts?.get(pool.name)}
                onOpen={() => setOpen({ kind: "rollout", pool })}
              />
            ),
          },
          {
            title: "Ahead",
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
      {open?.kind === "rollout" && (
        <RolloutDialog pool={asIsNow(open.pool)} count={countIn(open.pool.name)} rollout={rollouts?.get(open.pool.name)} onChanged={again} onClose={close} />
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

interface BehindProps {
  pool: string;
  count: number;
  rollout: Rollout | undefined;
  onOpen: () => void;
}

/** How many desktops of a pool run an earlier version, and what is done about it. */
function Behind({ pool, count, rollout, onOpen }: BehindProps): VNode {
  return (
    <span class="actions">
      {rollout !== undefined && isUnderWay(rollout) && <State look={rolloutLook(rollout.state)} />}
      <button type="button" class="row-name" aria-label={`Roll-out of ${pool}: ${count} behind`} data-testid={`pool-${pool}-rollout`} onClick={onOpen}>
        {count}
      </button>
    </span>
  );
}
