// A real identity provider for the tests. It prints its issuer, and reads lines of JSON: first its clients and accounts,
// then it serves; later other accounts.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const server = createServer();
await new Promise((listens) => server.listen(0, "localhost", listens));
const issuer = `http://localhost:${server.address().port}`;
console.log(JSON.stringify({ issuer }));

let accounts = {};
for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  accounts = told.accounts;
  if (told.clients) start(told.clients);
  console.log(JSON.stringify({ ready: true }));
}
server.close();
server.closeAllConnections();

function start(clients) {
  const provider = new Provider(issuer, {
    clients,
    claims: { openid: ["sub"], profile: ["name", "roles"] },
    conformIdTokenClaims: false, // claims of scopes are in the ID token, as Keycloak and Entra have them
    cookies: { keys: ["a key of the tests"] },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256", "EdDSA", "HS256"] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...accounts[id] }) }),
    pkce: { required: () => true },
  });
  server.on("request", provider.callback());
}
