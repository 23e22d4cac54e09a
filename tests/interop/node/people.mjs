// The pages by which people log in at the provider of provider.mjs: login and consent, by the
// interactions of `oidc-provider`, and those of the device flow. They load nothing from anywhere.
//
// Accounts are names and passwords; who logs in as `ada` is the subject `ada`.

const safe = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function page(title, body) {
  return `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${safe(title)}</title><link rel="icon" href="data:,"></head>
<body><h1>${safe(title)}</h1>${body}</body>
</html>`;
}

const button = (name, text) => `<button name="do" value="${name}">${text}</button>`;

function loginPage(issuer, wrong) {
  const told = wrong ? '<p id="wrong">Name or password is wrong.</p>' : '';
  return page('Log in', `<p>This is ${safe(issuer)}.</p>${told}<form method="post">
<p><label>Name <input name="name" autocomplete="off"></label></p>
<p><label>Password <input name="password" type="password" autocomplete="off"></label></p>
<p>${button('login', 'Log in')}</p></form>`);
}

function consentPage(params) {
  return page('Allow access', `<p>${safe(params.client_id)} asks for: ${safe(params.scope)}</p>
<form method="post">${button('allow', 'Allow')} ${button('refuse', 'Refuse')}</form>`);
}

async function read(request) {
  let body = '';
  for await (const chunk of request) {
    body += chunk;
    if (body.length > 10000) throw new Error('a form that is too long');
  }
  return Object.fromEntries(new URLSearchParams(body));
}

function show(response, html, status = 200) {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
  });
  response.end(html);
}

async function grantId(provider, details) {
  const { grantId: known, params, prompt, session } = details;
  const grant = known
    ? await provider.Grant.find(known)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return grant.save();
}

// Answers /interaction/..., where `accounts` is {name: password}.
export async function interact(provider, accounts, request, response) {
  const details = await provider.interactionDetails(request, response);
  const login = details.prompt.name === 'login';
  if (request.method !== 'POST') {
    show(response, login ? loginPage(provider.issuer, false) : consentPage(details.params));
    return;
  }
  const form = await read(request);
  let result;
  if (login) {
    if (!Object.hasOwn(accounts, form.name) || accounts[form.name] !== form.password) {
      show(response, loginPage(provider.issuer, true), 403);
      return;
    }
    result = { login: { accountId: form.name } };
  } else if (form.do === 'allow') {
    result = { consent: { grantId: await grantId(provider, details) } };
  } else {
    result = { error: 'access_denied', error_description: 'The person refused.' };
  }
  await provider.interactionFinished(request, response, result);
}

// Options of `features.deviceFlow`: its three pages.
export const devicePages = {
  userCodeInputSource: async (ctx, form, out, error) => {
    const told = error ? `<p id="wrong">${safe(error.name)}</p>` : '';
    ctx.body = page('Connect a device', `<p>Which code does it show?</p>${told}${form}
<button form="op.deviceInputForm">Go on</button>`);
  },
  userCodeConfirmSource: async (ctx, form, client, info, code) => {
    ctx.body = page('Is it this device?', `<p>It shows <strong id="code">${safe(code)}</strong></p>
${form}<button form="op.deviceConfirmForm" id="yes">Yes</button>
<button form="op.deviceConfirmForm" name="abort" value="yes" id="no">No</button>`);
  },
  successSource: async (ctx) => {
    ctx.body = page('Connected', '<p>You may go back to your device.</p>');
  },
};

export async function renderError(ctx, out) {
  ctx.type = 'html';
  ctx.body = page('This did not work', `<p id="error">${safe(out.error)}</p>`);
}
