import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed } from "../../act";
import type { SendMessageResponse } from "../../gen/rolltop/v1/sessions_pb";
import { useSession } from "../../session";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Field, FormButtons } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { parseLength } from "../model/lengths";

type To = { readonly case: "desktop" | "pool" | "host"; readonly value: string };

/** Shows a text to the users of desktops: of one, or of those chosen. */
export function MessageDialog({ desktop, onClose }: { desktop?: string; onClose: () => void }): VNode {
  const { broker } = useSession();
  const { clients, hosts } = useCluster();
  const { busy, message, act, say } = useAct();
  const { listed: pools } = useListed(async (signal) => (await broker.listPools({ all: true }, { signal })).pools, 60_000);
  const [text, setText] = useState("");
  const [to, setTo] = useState("");
  const [life, setLife] = useState("1h");
  const [sent, setSent] = useState<SendMessageResponse>();

  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const seconds = parseLength(life);
    if (seconds === undefined || seconds === 0) return say(`“${life}” is no length of time. Write 30min or 2h.`);
    const [kind = "", ...name] = to.split(":");
    const chosen = { case: kind as To["case"], value: name.join(":") };
    const audience: To | undefined = desktop !== undefined ? { case: "desktop", value: desktop } : to === "" ? undefined : chosen;
    void act(async () =>
      setSent(
        await clients.sessions.sendMessage({
          text,
          life: { seconds: BigInt(seconds), nanos: 0 },
          ...(audience !== undefined && { to: audience }),
        }),
      ),
    );
  };
  const title = desktop === undefined ? "Tell people something" : `Tell the user of ${desktop}`;
  if (sent !== undefined) {
    return (
      <Dialog title={title} onClose={onClose}>
        <p role="status" data-testid="message-sent">
          {`Given to ${sent.desktops} ${sent.desktops === 1 ? "desktop" : "desktops"}; somebody was looking at ${sent.watched}.`}
        </p>
        <div class="actions actions-end">
          <button type="button" class="button button-primary" onClick={onClose}>
            Close
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label="Text" hint="It is shown over their desktops until they press OK.">
          <textarea
            class="short"
            required
            maxLength={1000}
            value={text}
            data-testid="message-text"
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </Field>
        {desktop === undefined && (
          <Field label="To">
            <select value={to} data-testid="message-to" onChange={(event) => setTo(event.currentTarget.value)}>
              <option value="">everybody with a running desktop</option>
              {pools?.map(({ name }) => (
                <option key={name} value={`pool:${name}`}>
                  pool {name}
                </option>
              ))}
              {[...(hosts?.keys() ?? [])].sort().map((name) => (
                <option key={name} value={`host:${name}`}>
                  host {name}
                </option>
              ))}
            </select>
          </Field>
        )}
        <Field label="For" hint="Who comes back within that time sees it too: 30min, 2h; a day at most.">
          <input required value={life} onInput={(event) => setLife(event.currentTarget.value)} />
        </Field>
        <FormButtons busy={busy} action="Send" testId="message-send" onClose={onClose} />
      </form>
    </Dialog>
  );
}
