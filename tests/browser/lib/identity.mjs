import { createServer } from "node:http";
import Provider from "oidc-provider";

/**
 * A certified OpenID Connect provider on this machine, with sign-in pages of its own.
 * Who signs in there types their subject; what is said of them is `people[subject]`.
 */
export class IdentityProvider {
  people = {};
  #server;
  #port;

  /** Known to `portal`, as `client`. `port`: as before, after it was down. */
  static async start({ client, portal, port }) {
    const provider = new IdentityProvider();
    provider.#port = port;
    await provider.#listen(client, portal);
    return provider;
  }

  get issuer() {
    return `http://127.0.0.1:${this.#port}`;
  }

  async #listen({ id, secret }, portal) {
    const oidc = new Provider(this.issuer, {
      clients: [
        {
          client_id: id,
          client_secret: secret,
          redirect_uris: [`${portal}/oidc/callback`],
          post_logout_redirect_uris: [`${portal}/`],
          response_types: ["code"],
          grant_types: ["authorization_code"],
        },
      ],
      scopes: ["openid", "profile", "groups"],
      claims: { openid: ["sub"], profile: ["preferred_username", "name"], groups: ["groups"] },
      pkce: { required: () => true, methods: ["S256"] },
      cookies: { keys: ["only for this test"] },
      findAccount: (_, subject) => ({
        accountId: subject,
        claims: () => ({ sub: subject, ...this.people[subject] }),
      }),
      // Nobody is asked whether the portal may know who they are.
      loadExistingGrant: async ({ oidc: { client, session, provider } }) => {
        const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
        grant.addOIDCScope("openid profile groups");
        await grant.save();
        return grant;
      },
    });
    const answer = oidc.callback();
    this.#server = createServer((request, response) => answer(request, response));
    await new Promise((resolve, reject) => {
      this.#server.on("error", reject).listen(this.#port, "127.0.0.1", resolve);
    });
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
