import type { ComponentChildren, VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed } from "../../act";
import { Role, type User } from "../../gen/rolltop/v1/broker_pb";
import { stateLook } from "../../model/desktops";
import { formatBytes, formatWhen, sentence } from "../../model/format";
import { ROLES, isLocal, mayGiveRoles, mayManage, roleName, signInBy } from "../../model/people";
import { useSession } from "../../session";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Facts, Field, State } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { SetPassword } from "./user-forms";

const EVERY_MS = 15_000;

type Asking = "password" | "delete" | "second" | { readonly role: Role } | { readonly token: string } | undefined;

interface UserDialogProps {
  user: User;
  /** Something about them has changed. */
  onChanged: () => void;
  onClose: () => void;
}

/** One account: what it may, what it has, and what can be done about it. */
export function UserDialog({ user, onChanged, onClose }: UserDialogProps): VNode {
  const { broker, user: self } = useSession();
  const { clients } = useCluster();
  const { busy: off, message, act } = useAct();
  const [asking, setAsking] = useState<Asking>();
  const [done, setDone] = useState("");
  const { listed: tokens, again } = useListed(
    async (signal) => (await clients.people.listTokens({ user: user.name }, { signal })).tokens,
    EVERY_MS,
  );
  const { name } = user;
  const own = name === self.name;
  const busy = off || !mayManage(self, user);
  const back = (): void => setAsking(undefined);

  const run = async (work: () => Promise<unknown>, said: string): Promise<boolean> => {
    back();
    setDone("");
    const worked = await act(work);
    if (worked) {
      setDone(said);
      onChanged();
    }
    return worked;
  };
  const unlock = async (): Promise<void> => {
    let remembered = false;
    const worked = await run(async () => ({ wasRemembered: remembered } = await clients.people.unlockUser({ name })), "");
    if (worked) setDone(remembered ? "They can try again now." : "This broker knew of no wrong passwords or codes of theirs.");
  };

  if (asking === "password") return <SetPassword name={name} onClose={back} />;
  if (asking === "delete") {
    return (
      <Confirm
        title={`Delete the user ${name}?`}
        text="They can sign in no more. This cannot be undone."
        action="Delete"
        onConfirm={() => void run(() => broker.deleteUser({ name }), "").then((gone) => gone && onClose())}
        onClose={back}
      />
    );
  }
  if (asking === "second") {
    return (
      <Confirm
        title={`Take away the second factor of ${name}?`}
        text="Their password alone signs them in, until they set up another one. They are signed out everywhere."
        action="Take away"
        onConfirm={() => void run(() => clients.people.resetTotp({ name }), "Their password alone signs them in now.")}
        onClose={back}
      />
    );
  }
  if (typeof asking === "object" && "role" in asking) {
    const { role } = asking;
    return (
      <Confirm
        title={`Make ${name} ${roleName(role)}?`}
        text={`${sentence(ABOUT[role])} They are signed out everywhere, and have the role when they sign in again.`}
        action="Give the role"
        onConfirm={() => void run(() => clients.people.setUserRole({ name, role }), `They are ${roleName(role)} now.`)}
        onClose={back}
      />
    );
  }
  if (typeof asking === "object") {
    const { token: id } = asking;
    return (
      <Confirm
        title={`Revoke a token of ${name}?`}
        text={`Programs that use the token ${id} are refused from now on.`}
        action="Revoke"
        onConfirm={() => void run(() => clients.people.revokeToken({ id, user: name }), "The token is revoked.").then(again)}
        onClose={back}
      />
    );
  }
  return (
    <Dialog title={name} onClose={onClose}>
      <div class="wide" data-testid="user-dialog">
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p class="quiet" role="status" data-testid="user-done">
          {done}
        </p>
        <Facts
          facts={[
            ["Full name", user.fullName],
            ["Role", roleName(user.role)],
            ["Signs in by", signInBy(user)],
            ["Groups", user.groups.join(", ")],
            ["User id", String(user.uid)],
            ["Since", formatWhen(user.createdAt)],
          ]}
        />
        {mayGiveRoles(self) && (
          <Field label="Role" hint={own ? "Another admin can change your own." : sentence(ABOUT[user.role])}>
            <select
              value={String(user.role)}
              disabled={busy || own}
              data-testid="user-role-of"
              onChange={(event) => {
                const role = ROLES.find((one) => String(one) === event.currentTarget.value);
                // It is shown once it is so.
                event.currentTarget.value = String(user.role);
                if (role !== undefined && role !== user.role) setAsking({ role });
              }}
            >
              {ROLES.map((role) => (
                <option key={role} value={String(role)}>
                  {roleName(role)}
                </option>
              ))}
            </select>
          </Field>
        )}
        <Has user={user} />
        <Part title="Tokens for programs" none={tokens?.length === 0 && "No token."}>
          {tokens?.map(({ id, name: label, scopes, expiresAt }) => (
            <li key={id}>
              <span>
                {label} <span class="quiet">({scopes.join(", ")}; until {formatWhen(expiresAt)})</span>
              </span>
              {mayGiveRoles(self) && (
                <button
                  type="button"
                  class="button button-small"
                  aria-label={`Revoke ${label}`}
                  disabled={off}
                  onClick={() => setAsking({ token: id })}
                >
                  Revoke
                </button>
              )}
            </li>
          ))}
        </Part>
        {!off && busy && <p class="hint">Accounts of those who have a role are the admins' care.</p>}
        <div class="actions actions-end">
          <button
            type="button"
            class="button"
            disabled={busy || !isLocal(user)}
            title={isLocal(user) ? "" : "Their password is kept elsewhere."}
            onClick={() => setAsking("password")}
          >
            Set password
          </button>
          <button type="button" class="button" disabled={busy} data-testid="user-unlock" onClick={() => void unlock()}>
            Unlock
          </button>
          <button
            type="button"
            class="button"
            disabled={busy || own || !user.secondFactor}
            data-testid="user-reset-second"
            onClick={() => setAsking("second")}
          >
            Reset second factor
          </button>
          <button
            type="button"
            class="button"
            disabled={busy || own}
            data-testid={`user-${name}-delete`}
            onClick={() => setAsking("delete")}
          >
            Delete
          </button>
          <button type="button" class="button button-primary" data-testid="user-close" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}

/** What is allowed, in a sentence. */
const ABOUT: Readonly<Record<Role, string>> = {
  [Role.UNSPECIFIED]: "",
  [Role.USER]: "has desktops of their own, and nothing else",
  [Role.AUDITOR]: "may look at everything, and change nothing",
  [Role.OPERATOR]: "may do everything with hosts, pools, desktops and data, and make accounts of users",
  [Role.ADMIN]: "may do everything, and say who may what",
};

/** Their desktops, and what is kept for them. */
function Has({ user: { name } }: { user: User }): VNode {
  const { clients, desktops } = useCluster();
  const { listed, message } = useListed(
    async (signal) => (await clients.storage.listData({ all: true }, { signal })).data.filter(({ user }) => user === name),
    EVERY_MS,
  );
  const mine = [...(desktops?.values() ?? [])].filter(({ user }) => user === name);
  return (
    <>
      <Part title="Desktops" none={mine.length === 0 && desktops !== undefined && "None now."}>
        {mine.map(({ id, state, host }) => (
          <li key={id}>
            <span>
              {id} <span class="quiet">{host !== "" && `on ${host}`}</span>
            </span>
            <State look={stateLook(state)} />
          </li>
        ))}
      </Part>
      <Part title="Kept data" none={message !== "" ? message : listed?.length === 0 && "Nothing."}>
        {listed?.map(({ id, host, volume }) => (
          <li key={id}>
            <span>
              {id} <span class="quiet">on {host}</span>
            </span>
            <span>{volume !== undefined && `${formatBytes(volume.allocatedBytes)} of ${formatBytes(volume.sizeBytes)}`}</span>
          </li>
        ))}
      </Part>
    </>
  );
}

/** A heading and a list, or a word where there is none. */
function Part({ title, none, children }: { title: string; none: string | false; children: ComponentChildren }): VNode {
  return (
    <>
      <h3>{title}</h3>
      {none !== false && none !== "" ? <p class="hint">{none}</p> : <ul class="has-list">{children}</ul>}
    </>
  );
}
