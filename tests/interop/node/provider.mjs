// npm `oidc-provider` on loopback TLS, run by tests/support/oidc_provider.py.
//
// The one argument is a JSON file: `cert` and `key` (PEM files), `modules` (the folder that holds
// node_modules), `keys` (private JWKs, the first signs), `audience`, `alg`, `typ` ("JWT" or
// "at+jwt"), `ttl` (seconds), `groups`, `client` {id, secret}, `person` (the client without a secret
// by which people log in), `redirects` (its redirect URIs), `accounts` {name: password}, `interval`
// (seconds between two polls that devices are told), `pace` (those that they must keep to). When it
// listens it prints a line {"port": n}. Each line on standard input is a command, answered by one line:
//   {"keys": [...], "alg": "..."}   other keys, the first signs: a new Provider takes over
//   {"set": {"ttl": n, ...}}        other settings from now on: `ttl`, `interval`, `pace`
//   {"counts": true}                how often each path and each type of grant was asked for, and
//                                   how often a device was told to `slow_down`
// It ends when its standard input does.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

import { devicePages, interact, renderError } from './people.mjs';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const resolve = createRequire(`${settings.modules}/`).resolve;
const { Provider, errors } = await import(pathToFileURL(resolve('oidc-provider')));

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const counts = {};
const polled = {}; // device code -> when it was asked for last
let issuer;
let current;

function count(what) {
  counts[what] = (counts[what] ?? 0) + 1;
}

// What the package leaves out of RFC 8628: the interval, and who does not keep to it (section 3.5).
async function paceDevices(ctx, next) {
  await next();
  if (ctx.oidc?.route === 'device_authorization' && ctx.status === 200) {
    ctx.body = { ...ctx.body, interval: settings.interval };
  } else if (ctx.oidc?.route === 'token' && ctx.oidc.body) {
    const { grant_type: grant, device_code: code } = ctx.oidc.body;
    count(grant);
    if (grant !== DEVICE || ctx.body?.error !== 'authorization_pending') return;
    if (Date.now() - (polled[code] ?? 0) < settings.pace * 1000) {
      ctx.body = { error: 'slow_down' };
      count('slow_down');
    }
    polled[code] = Date.now();
  }
}

function provider(keys, alg) {
  const { audience, client, groups, person, typ } = settings;
  const made = new Provider(issuer, {
    jwks: { keys },
    clients: [{
      client_id: client.id,
      client_secret: client.secret,
      grant_types: ['client_credentials', 'authorization_code', 'refresh_token', DEVICE],
      redirect_uris: ['http://127.0.0.1/callback'],
      response_types: ['code'],
      application_type: 'native',
      id_token_signed_response_alg: alg,
    }, {
      client_id: person,
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token', DEVICE],
      // Of a loopback address the port does not count (RFC 8252 section 7.3).
      redirect_uris: settings.redirects,
      response_types: ['code'],
      application_type: 'native',
      id_token_signed_response_alg: alg,
    }],
    scopes: ['openid', 'offline_access', 'mail'],
    pkce: { required: () => true },
    cookies: { keys: ['of these tests alone'] },
    enabledJWA: {
      idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true, ...devicePages },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: async () => true,
        getResourceServerInfo: async (ctx, resource) => {
          if (resource !== audience) throw new errors.InvalidTarget();
          return {
            scope: 'openid mail',
            audience,
            accessTokenTTL: settings.ttl,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg } },
          };
        },
      },
    },
    renderError,
    extraTokenClaims: async () => ({ groups }),
    formats: {
      customizers: {
        jwt: async (ctx, token, parts) => {
          parts.header = { ...parts.header, typ };
        },
      },
    },
    ttl: {
      ClientCredentials: () => settings.ttl,
      AccessToken: () => settings.ttl,
      IdToken: () => settings.ttl,
      DeviceCode: 300,
      Grant: 3600,
      Interaction: 300,
      RefreshToken: 3600,
      Session: 3600,
    },
    findAccount: async (ctx, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  });
  made.use(paceDevices);
  const handle = made.callback();
  return (request, response) => {
    if (!request.url.startsWith('/interaction/')) {
      handle(request, response);
      return;
    }
    interact(made, settings.accounts, request, response).catch((error) => {
      console.error(error);
      response.writeHead(400).end();
    });
  };
}

const server = createServer(
  { cert: readFileSync(settings.cert), key: readFileSync(settings.key) },
  (request, response) => {
    count(request.url.split('?')[0]);
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
    } else if (command.set) {
      Object.assign(settings, command.set);
      console.log('{}');
    } else {
      console.log(JSON.stringify(counts));
    }
  })
  .on('close', () => process.exit(0));
