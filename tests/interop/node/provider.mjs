// npm `oidc-provider` on loopback TLS, run by tests/support/oidc_provider.py.
//
// The one argument is a JSON file: `cert` and `key` (PEM files), `modules` (the folder that holds
// node_modules), `keys` (private JWKs, the first signs), `audience`, `alg`, `typ` ("JWT" or
// "at+jwt"), `ttl` (seconds), `groups`, `client` {id, secret}. When it listens it prints a line
// {"port": n}. Each line on standard input is a command, answered by one line:
//   {"keys": [...], "alg": "..."}   other keys, the first signs: a new Provider takes over
//   {"counts": true}                how often each path was asked for
// It ends when its standard input does.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const resolve = createRequire(`${settings.modules}/`).resolve;
const { Provider, errors } = await import(pathToFileURL(resolve('oidc-provider')));

const counts = {};
let issuer;
let current;

function provider(keys, alg) {
  const { audience, client, groups, ttl, typ } = settings;
  const made = new Provider(issuer, {
    jwks: { keys },
    clients: [{
      client_id: client.id,
      client_secret: client.secret,
      grant_types: [
        'client_credentials', 'authorization_code', 'refresh_token',
        'urn:ietf:params:oauth:grant-type:device_code',
      ],
      redirect_uris: ['http://127.0.0.1/callback'],
      response_types: ['code'],
      application_type: 'native',
      id_token_signed_response_alg: alg,
    }],
    scopes: ['openid', 'offline_access', 'mail'],
    enabledJWA: {
      idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: async () => true,
        getResourceServerInfo: async (ctx, resource) => {
          if (resource !== audience) throw new errors.InvalidTarget();
          return {
            scope: 'openid mail',
            audience,
            accessTokenTTL: ttl,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg } },
          };
        },
      },
    },
    extraTokenClaims: async () => ({ groups }),
    formats: {
      customizers: {
        jwt: async (ctx, token, parts) => {
          parts.header = { ...parts.header, typ };
        },
      },
    },
    ttl: { ClientCredentials: ttl, AccessToken: ttl, IdToken: ttl },
    // People are of no use to a test that nobody looks at.
    findAccount: async (ctx, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  });
  const handle = made.callback();
  return handle;
}

const server = createServer(
  { cert: readFileSync(settings.cert), key: readFileSync(settings.key) },
  (request, response) => {
    const path = request.url.split('?')[0];
    counts[path] = (counts[path] ?? 0) + 1;
    current(request, response);
  },
);
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  issuer = `https://localhost:${port}`;
  current = provider(settings.keys, settings.alg);
  console.log(JSON.stringify({ port }));
});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line);
    if (command.keys) {
      current = provider(command.keys, command.alg);
      console.log('{}');
    } else {
      console.log(JSON.stringify(counts));
    }
  })
  .on('close', () => process.exit(0));
