import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { Role, type User } from "../../gen/rolltop/v1/broker_pb";
import { mayGiveRoles, roleName } from "../../model/people";
import { useSession } from "../../session";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { useAct, useListed } from "../data";
import { Grid } from "../ui/grid";
import { Field } from "../ui/parts";

const EVERY_MS = 15_000;

type Open = { readonly kind: "new" } | { readonly kind: "password" | "delete"; readonly name: string };

/** Who can sign in. */
export function UsersPage(): VNode {
  const { broker, user: self } = useSession();
  const { listed, message, again } = useListed((signal) => broker.listUsers({}, { signal }), EVERY_MS);
  const { busy, message: refused, act } = useAct();
  const [open, setOpen] = useState<Open>();
  const close = (): void => setOpen(undefined);
  const remove = async (name: string): Promise<void> => {
    close();
    if (await act(() => broker.deleteUser({ name }))) again();
  };
  const acts = ({ name }: User): VNode => (
    <span class="actions">
      <button type="button" class="button button-small" disabled={busy} onClick={() => setOpen({ kind: "password", name })}>
        Set password
      </button>
      <button
        type="button"
        class="button button-small"
        disabled={busy || name === self.name}
        aria-label={`Delete ${name}`}
        data-testid={`user-${name}-delete`}
        onClick={() => setOpen({ kind: "delete", name })}
      >
        Delete
      </button>
    </span>
  );
  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      {refused !== "" && <ErrorNotice>{refused}</ErrorNotice>}
      <Grid
        name="users"
        rows={listed?.users}
        rowKey={({ name }) => name}
        empty="There is no user."
        columns={[
          { title: "Name", value: ({ name }) => name },
          { title: "Full name", value: ({ fullName }) => fullName },
          { title: "Role", value: ({ role }) => roleName(role) },
          { title: "User id", value: ({ uid }) => uid },
          { title: "Acts", value: () => "", show: acts },
        ]}
      >
        <button type="button" class="button" disabled={busy} data-testid="user-add" onClick={() => setOpen({ kind: "new" })}>
          Add a user
        </button>
      </Grid>
      {open?.kind === "new" && (
        <NewUser
          onClose={close}
          onMade={() => {
            close();
            again();
          }}
        />
      )}
      {open?.kind === "password" && <SetPassword name={open.name} onClose={close} />}
      {open?.kind === "delete" && (
        <Confirm
          title={`Delete the user ${open.name}?`}
          text="They can sign in no more. This cannot be undone."
          action="Delete"
          onConfirm={() => void remove(open.name)}
          onClose={close}
        />
      )}
    </>
  );
}

const ROLES = [Role.USER, Role.AUDITOR, Role.OPERATOR, Role.ADMIN];

function NewUser({ onClose, onMade }: { onClose: () => void; onMade: () => void }): VNode {
  const { broker, user } = useSession();
  const { busy, message, act } = useAct();
  const roles = mayGiveRoles(user) ? ROLES : [Role.USER];
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (!(event.currentTarget instanceof HTMLFormElement)) return;
    const entries = new FormData(event.currentTarget);
    const text = (name: string): string => String(entries.get(name) ?? "");
    const made = await act(() =>
      broker.createUser({
        name: text("name").trim(),
        fullName: text("full-name").trim(),
        password: text("password"),
        role: roles.find((role) => roleName(role) === text("role")) ?? Role.USER,
      }),
    );
    if (made) onMade();
  };
  return (
    <Dialog title="Add a user" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label="Name">
          <input name="name" required autocapitalize="none" autocomplete="off" data-testid="user-name" />
        </Field>
        <Field label="Full name">
          <input name="full-name" autocomplete="off" />
        </Field>
        <Field label="Password">
          <input name="password" type="password" required autocomplete="new-password" data-testid="user-password" />
        </Field>
        {roles.length > 1 && (
          <Field label="Role" hint="Auditors look at everything; operators run the cluster; admins say who may what.">
            <select name="role" data-testid="user-role">
              {roles.map((role) => (
                <option key={role}>{roleName(role)}</option>
              ))}
            </select>
          </Field>
        )}
        <Buttons busy={busy} action="Add" testId="user-save" onClose={onClose} />
      </form>
    </Dialog>
  );
}

function SetPassword({ name, onClose }: { name: string; onClose: () => void }): VNode {
  const { broker, user } = useSession();
  const { busy, message, act } = useAct();
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (!(event.currentTarget instanceof HTMLFormElement)) return;
    const entries = new FormData(event.currentTarget);
    const currentPassword = String(entries.get("own") ?? "");
    const newPassword = String(entries.get("new") ?? "");
    const set = await act(() => broker.changePassword({ user: name, currentPassword, newPassword }));
    if (set) onClose();
  };
  return (
    <Dialog title={`Set the password of ${name}`} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label={`Your own password, ${user.name}`}>
          <input name="own" type="password" required autocomplete="current-password" />
        </Field>
        <Field label={`New password for ${name}`}>
          <input name="new" type="password" required autocomplete="new-password" />
        </Field>
        <Buttons busy={busy} action="Set" testId="password-save" onClose={onClose} />
      </form>
    </Dialog>
  );
}

interface ButtonsProps {
  busy: boolean;
  action: string;
  testId: string;
  onClose: () => void;
}

function Buttons({ busy, action, testId, onClose }: ButtonsProps): VNode {
  return (
    <div class="actions actions-end">
      <button type="button" class="button" onClick={onClose}>
        Cancel
      </button>
      <button class="button button-primary" aria-busy={busy} disabled={busy} data-testid={testId}>
        {action}
      </button>
    </div>
  );
}
