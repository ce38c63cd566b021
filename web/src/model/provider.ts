// Signing in at a provider: what this page puts into addresses, and reads from them.
import { type Route, routeHref } from "./route";

/** Where the browser goes to sign in, to come back to a view. */
export function providerHref(path: string, route: Route): string {
  return `${path}?view=${routeHref(route).slice(1)}`;
}

/** The broker's words for why a sign-in came to nothing, in sentences. */
const REASONS: Readonly<Record<string, string>> = {
  PROVIDER_UNAVAILABLE:
    "The sign-in service cannot be reached at this moment. Try again soon; who has a password here can sign in with it.",
  PROVIDER_NOT_BELIEVED: "What the sign-in service said of you could not be verified. Please tell the operators.",
  PROVIDER_REFUSED: "The sign-in service did not let you in. Please try again.",
  SIGN_IN_OVER: "This sign-in took too long, was used already, or was begun in another browser. Please try again.",
  TOO_MANY_SIGN_INS: "Too many people are signing in from here at this moment. Please try again soon.",
  TOO_MANY_ATTEMPTS: "Too many wrong tries from this address. Please try again later.",
  NAME_TAKEN: "Your name is taken by another account here. An operator has to give one of the two another name.",
  NAME_NOT_USABLE: "Your name at the sign-in service cannot be that of an account here. Please tell the operators.",
  DECLINED: "You were not signed in: the sign-in service was told no.",
};

/** The sentence in an address "#/not-signed-in/WHY", or empty if it is another. Only what is known here is ever shown. */
export function refusalIn(hash: string): string {
  const why = /^#\/not-signed-in\/([A-Z_]{1,40})$/.exec(hash)?.[1];
  if (why === undefined) return "";
  return Object.hasOwn(REASONS, why) ? (REASONS[why] ?? "") : "Signing in did not succeed. Please try again.";
}

/** Where a program on this computer waits for its code. Never another computer. */
export function answerHref(port: number, code: string, state: string): string {
  return `http://127.0.0.1:${port}/?${new URLSearchParams({ code, state }).toString()}`;
}
