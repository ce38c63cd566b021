import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { type Host, HostState } from "../../gen/rolltop/v1/broker_pb";
import { formatBytes, sentence } from "../../model/format";
import { useSession } from "../../session";
import { Confirm, Dialog, TypedConfirm } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { useAct, useCluster } from "../data";
import { drainProgress, hostLook, labelChange, parseLabels } from "../model/hosts";
import { Facts, Field, State } from "../../ui/parts";
import { Enrol } from "./enrol";

type Asking = "revoke" | "remove" | "forget" | "enrol" | undefined;

/** One host: what is known of it, and what can be done with it. */
export function HostDialog({ host, now, onClose }: { host: Host; now: number; onClose: () => void }): VNode {
  const { broker } = useSession();
  const { clients, hostsChanged } = useCluster();
  const { busy, message, act, say } = useAct();
  const [asking, setAsking] = useState<Asking>();
  const { info, name } = host;
  const date = host.certificateExpiresAt;

  const remove = async (force: boolean): Promise<void> => {
    setAsking(undefined);
    if (await act(() => broker.deleteHost({ name, force }))) {
      hostsChanged();
      onClose();
    }
  };
  const revoke = async (): Promise<void> => {
    setAsking(undefined);
    await act(() => clients.hosts.revokeHost({ name }));
  };
  if (asking === "enrol") return <Enrol name={name} onClose={() => setAsking(undefined)} />;
  if (asking === "revoke") {
    return (
      <Confirm
        title={`Revoke ${name}?`}
        text="No certificate of it counts any more, and calls to it end. Its desktops go on there, out of reach, until it is enrolled anew."
        action="Revoke"
        onConfirm={() => void revoke()}
        onClose={() => setAsking(undefined)}
      />
    );
  }
  if (asking === "remove") {
    return (
      <Confirm
        title={`Remove ${name}?`}
        text="It is taken out of the cluster, unless desktops or kept data are on it. To come back it has to be enrolled anew."
        action="Remove"
        onConfirm={() => void remove(false)}
        onClose={() => setAsking(undefined)}
      />
    );
  }
  if (asking === "forget") {
    return (
      <TypedConfirm
        title={`Forget ${name}?`}
        text="For a host that will not come back: its desktops are noted as lost, and what it keeps of users as gone. Nothing is deleted on its disks."
        word={name}
        action="Forget"
        onConfirm={() => void remove(true)}
        onClose={() => setAsking(undefined)}
      />
    );
  }
  return (
    <Dialog title={name} onClose={onClose}>
      <div class="wide" data-testid="host-dialog">
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p class="facts" role="status">
          <State look={hostLook(host)} />
          <span>{sentence(host.problem)}</span>
          <span data-testid="drain-progress">{drainProgress(host, now)}</span>
        </p>
        <Facts
          facts={[
            ["Address", host.endpoint],
            ["Agent", info?.agentVersion],
            ["Kernel", info?.kernel],
            ["Processors", info && String(info.cpus)],
            ["Memory", info && `${formatBytes(info.memoryAvailableBytes)} left of ${formatBytes(info.memoryBytes)}`],
            ["Disk for overlays", info && `${formatBytes(info.overlayFreeBytes)} left`],
            ["Desktops", info && `${info.desktops} of ${info.maxDesktops}`],
            ["Network", info?.network],
            ["Runtime", info?.runtime],
            ["Storage", info && info.storageId !== "" ? `${info.storageId}${info.storageShared ? " (shared)" : ""}` : ""],
            ["Certificate until", date && timestampDate(date).toLocaleString()],
            ["Drain asked for by", host.drain?.by],
          ]}
        />
        <DrainPart host={host} busy={busy} act={act} say={say} />
        <LabelsPart host={host} busy={busy} act={act} say={say} />
        <div class="actions actions-end">
          <button type="button" class="button" disabled={busy} onClick={() => setAsking("enrol")}>
            Enrol anew
          </button>
          <button type="button" class="button" disabled={busy || host.revoked} data-testid="host-revoke" onClick={() => setAsking("revoke")}>
            Revoke
          </button>
          <button type="button" class="button" disabled={busy} data-testid="host-remove" onClick={() => setAsking("remove")}>
            Remove
          </button>
          {(host.state === HostState.LOST || host.state === HostState.SUSPECT) && (
            <button type="button" class="button" disabled={busy} data-testid="host-forget" onClick={() => setAsking("forget")}>
              Forget
            </button>
          )}
          <button type="button" class="button button-primary" data-testid="host-close" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}

interface PartProps extends Pick<ReturnType<typeof useAct>, "busy" | "act" | "say"> {
  host: Host;
}

function DrainPart({ host, busy, act, say }: PartProps): VNode {
  const { clients } = useCluster();
  const [minutes, setMinutes] = useState("");
  const { name } = host;
  const drain = (event: SubmitEvent): void => {
    event.preventDefault();
    const text = minutes.trim();
    if (text !== "" && !/^[0-9]{1,6}$/.test(text)) {
      say(`“${text}” is no number of minutes. Leave it empty to let desktops stay as long as they like.`);
      return;
    }
    const deadline = text === "" ? {} : { deadline: { seconds: BigInt(text) * 60n, nanos: 0 } };
    void act(() => clients.hosts.drainHost({ name, ...deadline }));
  };
  return (
    <form class="field-row" onSubmit={drain}>
      <Field
        label={host.drain === undefined ? "Drain: end its desktops in minutes" : "Another deadline, in minutes"}
        hint="Empty: they may stay. It takes no new ones either way."
      >
        <input inputMode="numeric" value={minutes} data-testid="drain-minutes" onInput={(event) => setMinutes(event.currentTarget.value)} />
      </Field>
      <div class="actions">
        <button class="button" disabled={busy} data-testid="host-drain">
          {host.drain === undefined ? "Drain" : "Set deadline"}
        </button>
        {host.drain !== undefined && (
          <button
            type="button"
            class="button"
            disabled={busy}
            data-testid="host-undrain"
            onClick={() => void act(() => clients.hosts.undrainHost({ name }))}
          >
            Take desktops again
          </button>
        )}
      </div>
    </form>
  );
}

function LabelsPart({ host, busy, act, say }: PartProps): VNode {
  const { clients } = useCluster();
  const [text, setText] = useState(() => Object.entries(host.labels).map(([key, value]) => `${key}=${value}`).join(" "));
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const { labels, fault } = parseLabels(text);
    if (fault !== "") {
      say(fault);
      return;
    }
    void act(() => clients.hosts.setHostLabels({ name: host.name, ...labelChange(host.labels, labels) }));
  };
  return (
    <form class="field-row" onSubmit={submit}>
      <Field label="Labels" hint="KEY=VALUE, for pools to choose by.">
        <input value={text} autocapitalize="none" data-testid="host-labels" onInput={(event) => setText(event.currentTarget.value)} />
      </Field>
      <div class="actions">
        <button class="button" disabled={busy} data-testid="host-labels-save">
          Save labels
        </button>
      </div>
    </form>
  );
}
