import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { MakeEnrolTokenResponse } from "../../gen/rolltop/v1/hosts_pb";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { useAct, useCluster } from "../data";
import { Field } from "../../ui/parts";

/** Makes the token with which a machine becomes a host, and the command for it. */
export function Enrol({ name: known = "", onClose }: { name?: string; onClose: () => void }): VNode {
  const { clients } = useCluster();
  const { busy, message, act } = useAct();
  const [name, setName] = useState(known);
  const [made, setMade] = useState<MakeEnrolTokenResponse>();
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    void act(async () => setMade(await clients.hosts.makeEnrolToken({ name: name.trim() })));
  };
  if (made !== undefined) {
    const until = made.expiresAt === undefined ? "" : ` until ${timestampDate(made.expiresAt).toLocaleTimeString()}`;
    return (
      <Dialog title={`Enrol ${name.trim()}`} onClose={onClose}>
        <p>Run this as root on the machine. It is good once,{until}, and not shown again.</p>
        <pre class="command wide" tabIndex={0} data-testid="enrol-command">
          rolltop-agent enrol --broker {location.origin} --token {made.token}
        </pre>
        <div class="actions actions-end">
          <button type="button" class="button button-primary" onClick={onClose}>
            Done
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Add a host" onClose={onClose}>
      <form onSubmit={submit}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label="Name of the host" hint="An earlier token for this name is void from then on.">
          <input
            required
            value={name}
            data-testid="enrol-name"
            autocapitalize="none"
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </Field>
        <div class="actions actions-end">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button class="button button-primary" aria-busy={busy} disabled={busy} data-testid="enrol-submit">
            Make the command
          </button>
        </div>
      </form>
    </Dialog>
  );
}
