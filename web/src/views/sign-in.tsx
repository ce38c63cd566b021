import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { BrokerClient, SignInWaysClient } from "../api/client";
import { isWrongCode, type Problem, problemOf, signInMessage, wantsCode } from "../api/errors";
import type { User } from "../gen/rolltop/v1/broker_pb";
import type { ListSignInWaysResponse_Provider as Provider } from "../gen/rolltop/v1/sign_in_pb";
import { providerHref, refusalIn } from "../model/provider";
import type { Route } from "../model/route";
import { useNow } from "../ui/clock";
import { ErrorNotice } from "../ui/notice";
import { Welcome } from "./welcome";

interface SignInProps {
  broker: BrokerClient;
  ways: SignInWaysClient;
  /** What the person wants to see when they are in. */
  route: Route;
  /** Why the person is here again; may be empty. */
  notice: string;
  onSignedIn: (user: User) => void;
}

/** A refusal and when it came, so that the wait can be counted down. */
interface Refusal {
  readonly problem: Problem;
  readonly atMs: number;
}

export function SignIn({ broker, ways, route, notice, onSignedIn }: SignInProps): VNode {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  /** The password was right, and a code is wanted too. */
  const [codeWanted, setCodeWanted] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<Refusal>();
  const provider = useProvider(ways);
  /** What the broker has sent the browser back with, until something else happens. */
  const [sentBack, setSentBack] = useState(() => refusalIn(location.hash));
  const nameBox = useRef<HTMLInputElement>(null);
  const passwordBox = useRef<HTMLInputElement>(null);
  const codeBox = useRef<HTMLInputElement>(null);

  useEffect(() => {
    document.title = "Sign in · Rolltop";
    nameBox.current?.focus();
  }, []);

  useEffect(() => {
    if (codeWanted) codeBox.current?.focus();
  }, [codeWanted]);

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setRefusal(undefined);
    setSentBack("");
    try {
      const { user } = await broker.signIn({ name: name.trim(), password, code: code.trim() });
      // An answer without a user is a server that speaks another contract.
      onSignedIn(user ?? (await broker.whoAmI({})));
    } catch (error) {
      const problem = problemOf(error);
      setBusy(false);
      setCode("");
      if (wantsCode(problem)) {
        setCodeWanted(true);
        return;
      }
      setRefusal({ problem, atMs: Date.now() });
      if (codeWanted && isWrongCode(problem)) {
        codeBox.current?.focus();
        return;
      }
      setCodeWanted(false);
      setPassword("");
      passwordBox.current?.focus();
    }
  };

  return (
    <Welcome>
      <form class="card welcome-card" onSubmit={(event) => void submit(event)}>
        {sentBack !== "" && <ErrorNotice>{sentBack}</ErrorNotice>}
        {refusal === undefined && sentBack === "" && notice !== "" && (
          <p class="notice" role="status">
            {notice}
          </p>
        )}
        {refusal !== undefined && <RefusalNotice {...refusal} />}
        {provider !== undefined && (
          <>
            <a
              class="button button-primary button-wide"
              href={providerHref(provider.path, route)}
              data-testid="sign-in-provider"
            >
              Sign in with {provider.title}
            </a>
            <p class="or">or with a password of this cluster</p>
          </>
        )}
        <label class="field">
          <span>Name</span>
          <input
            ref={nameBox}
            name="username"
            autocomplete="username"
            autocapitalize="none"
            spellcheck={false}
            required
            value={name}
            data-testid="sign-in-name"
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <label class="field">
          <span>Password</span>
          <input
            ref={passwordBox}
            type="password"
            name="password"
            autocomplete="current-password"
            required
            value={password}
            data-testid="sign-in-password"
            onInput={(event) => {
              setPassword(event.currentTarget.value);
              setCodeWanted(false);
            }}
          />
        </label>
        {codeWanted && (
          <label class="field">
            <span>Code from your authenticator app, or a recovery code</span>
            <input
              ref={codeBox}
              name="code"
              autocomplete="one-time-code"
              autocapitalize="none"
              spellcheck={false}
              required
              value={code}
              data-testid="sign-in-code"
              onInput={(event) => setCode(event.currentTarget.value)}
            />
          </label>
        )}
        <button class="button button-primary button-wide" data-testid="sign-in-submit" aria-busy={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </Welcome>
  );
}

/** The provider people can sign in with, once the server has said so. Without an answer the passwords are still there. */
function useProvider(ways: SignInWaysClient): Provider | undefined {
  const [provider, setProvider] = useState<Provider>();
  useEffect(() => {
    const stop = new AbortController();
    ways
      .listSignInWays({}, { signal: stop.signal })
      .then((offered) => setProvider(offered.provider))
      .catch(() => setProvider(undefined));
    return () => stop.abort();
  }, [ways]);
  return provider;
}

/** The refusal in words; a wait counts down and then says that it is over. */
function RefusalNotice({ problem, atMs }: Refusal): VNode {
  const now = useNow(1_000);
  if (problem.retryAfterS === 0) return <ErrorNotice>{signInMessage(problem)}</ErrorNotice>;
  const retryAfterS = problem.retryAfterS - Math.max(0, now - atMs) / 1000;
  return (
    <ErrorNotice>
      {retryAfterS > 0 ? signInMessage({ ...problem, retryAfterS }) : "You can try again now."}
    </ErrorNotice>
  );
}
