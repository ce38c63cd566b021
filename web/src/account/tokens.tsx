import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed, useOwnAct } from "../act";
import type { PeopleClient } from "../api/client";
import type { Token } from "../gen/rolltop/v1/people_pb";
import { formatWhen } from "../model/format";
import { mayLook } from "../model/people";
import { useSession } from "../session";
import { useNow } from "../ui/clock";
import { Confirm, Dialog } from "../ui/dialog";
import { ErrorNotice } from "../ui/notice";
import { Field, FormButtons } from "../ui/parts";
import { MOST_DAYS, SCOPES, daysOf } from "./secret";

const EVERY_MS = 30_000;

/** One's own tokens. */
export function Tokens({ people }: { people: PeopleClient }): VNode {
  const { listed, message, again } = useListed(async (signal) => (await people.listTokens({}, { signal })).tokens, EVERY_MS);
  const { busy, message: refused, act } = useOwnAct();
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Token>();
  const now = useNow(60_000);
  const revoke = async ({ id }: Token): Promise<void> => {
    setRevoking(undefined);
    await act(() => people.revokeToken({ id }));
    again();
  };
  return (
    <div class="card account-card" aria-busy={listed === undefined}>
      <p>A program that has one does what its scopes say in your name, without your password.</p>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      {refused !== "" && <ErrorNotice>{refused}</ErrorNotice>}
      <ul class="has-list" data-testid="tokens">
        {listed?.map((token) => (
          <li key={token.id} data-testid={`token-${token.name}`}>
            <span>
              <strong>{token.name}</strong>{" "}
              <span class="quiet">
                {token.scopes.join(", ")};{" "}
                {token.expiresAt !== undefined && timestampMs(token.expiresAt) <= now
                  ? "over"
                  : `until ${formatWhen(token.expiresAt)}`}
              </span>
            </span>
            <button
              type="button"
              class="button button-small"
              disabled={busy}
              aria-label={`Revoke ${token.name}`}
              data-testid={`token-${token.name}-revoke`}
              onClick={() => setRevoking(token)}
            >
              Revoke
            </button>
          </li>
        ))}
      </ul>
      {listed?.length === 0 && <p class="hint">You have none.</p>}
      <div class="actions">
        <button type="button" class="button" data-testid="token-add" onClick={() => setMaking(true)}>
          Make a token
        </button>
      </div>
      {making && (
        <NewToken
          people={people}
          onClose={() => {
            setMaking(false);
            again();
          }}
        />
      )}
      {revoking !== undefined && (
        <Confirm
          title={`Revoke the token ${revoking.name}?`}
          text="Programs that use it are refused from now on. This cannot be undone."
          action="Revoke"
          onConfirm={() => void revoke(revoking)}
          onClose={() => setRevoking(undefined)}
        />
      )}
    </div>
  );
}

/** Makes a token, and shows it once. */
function NewToken({ people, onClose }: { people: PeopleClient; onClose: () => void }): VNode {
  const { user } = useSession();
  const { busy, message, act, say } = useOwnAct();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<ReadonlySet<string>>(new Set(["read"]));
  const [days, setDays] = useState("30");
  const [made, setMade] = useState("");
  // The others would be of no use.
  const offered = SCOPES.filter(([scope]) => mayLook(user) || scope === "read" || scope === "desktops");

  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const life = daysOf(days);
    if (life === undefined) return say(`“${days}” is no number of days: from 1 to ${MOST_DAYS}.`);
    if (scopes.size === 0) return say("Choose what it may do: one scope at least.");
    const seconds = BigInt(life) * 86_400n;
    void act(async () => {
      const { text } = await people.createToken({ name: name.trim(), scopes: [...scopes], life: { seconds, nanos: 0 } });
      setMade(text);
    });
  };
  if (made !== "") {
    return (
      <Dialog title={`The token ${name.trim()}`} onClose={onClose}>
        <p>Copy it now: it is kept nowhere, and not shown again.</p>
        <pre class="command" tabIndex={0} data-testid="token-text">
          {made}
        </pre>
        <p class="hint">For rolltop: ROLLTOP_TOKEN. For other programs: the header “authorization: Bearer TOKEN”.</p>
        <div class="actions actions-end">
          <button type="button" class="button button-primary" data-testid="token-kept" onClick={onClose}>
            I have kept it
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Make a token" onClose={onClose}>
      <form onSubmit={submit}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label="Name" hint="What it is for; 64 bytes at most.">
          <input required value={name} autocomplete="off" data-testid="token-name" onInput={(event) => setName(event.currentTarget.value)} />
        </Field>
        <fieldset class="choices">
          <legend>It may</legend>
          {offered.map(([scope, about]) => (
            <label key={scope} class="check">
              <input
                type="checkbox"
                checked={scopes.has(scope)}
                data-testid={`token-scope-${scope}`}
                onChange={(event) => {
                  const chosen = new Set(scopes);
                  if (event.currentTarget.checked) chosen.add(scope);
                  else chosen.delete(scope);
                  setScopes(chosen);
                }}
              />
              <span>
                {scope} <span class="quiet">{about}</span>
              </span>
            </label>
          ))}
        </fieldset>
        <Field label="For days">
          <input required inputMode="numeric" value={days} data-testid="token-days" onInput={(event) => setDays(event.currentTarget.value)} />
        </Field>
        <FormButtons busy={busy} action="Make" testId="token-save" onClose={onClose} />
      </form>
    </Dialog>
  );
}
