// npm `mongodb`, MongoDB's driver for Node, run by tests/support/node_driver.py.
//
// The one argument is the folder that holds node_modules. When it is ready it prints a line
// {"version": "..."}. Each line on standard input is a command; while it is carried out, the
// driver's callback may ask for a token, and the last line answers the command:
//   > {"open": {"uri": "...", "options": {...}, "properties": {...}, "kind": "OIDC_CALLBACK"}}
//   < {"done": {}}                      clients connect when they are first used
//   > {"run": {"ping": 1}, "database": "admin"}
//   < {"asks": {"idpInfo": ..., "refreshToken": ..., "username": ..., "timed": true}}
//   > {"accessToken": "...", ...}       or {"error": "..."}: the callback throws
//   < {"done": {...}, "events": [["ping", 391], ...]}    or {"failed": {...}, "events": [...]}
//   > {"close": true}
//   < {"done": {}}
// There is one client at a time. It ends when its standard input does.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.argv[2]}/`);
const { MongoClient } = await import(pathToFileURL(require.resolve('mongodb')));
const { version } = JSON.parse(readFileSync(require.resolve('mongodb/package.json'), 'utf8'));

const say = (message) => console.log(JSON.stringify(message));
let client;
let events = [];
let answered = null;

async function callback({ idpInfo, refreshToken, username, timeoutContext }) {
  const answer = await new Promise((resolve) => {
    answered = resolve;
    say({ asks: { idpInfo, refreshToken, username, timed: timeoutContext instanceof AbortSignal } });
  });
  if (answer.error) throw new Error(answer.error);
  return answer;
}

function open({ uri, options, properties, kind }) {
  const mechanism = { ...properties };
  if (kind) mechanism[kind] = callback;
  client = new MongoClient(uri, {
    ...options,
    ...(Object.keys(mechanism).length ? { authMechanismProperties: mechanism } : {}),
    monitorCommands: true,
  });
  client.on('commandSucceeded', (event) => events.push([event.commandName, 0]));
  client.on('commandFailed', (event) => events.push([event.commandName, event.failure.code ?? -1]));
}

async function carryOut(command) {
  events = [];
  try {
    if (command.open) open(command.open);
    else if (command.close) await client?.close();
    else {
      const done = await client.db(command.database).command(command.run);
      return say({ done, events });
    }
    return say({ done: {} });
  } catch (error) {
    const { name, message, code = null, errorResponse } = error;
    return say({ failed: { name, message, code, errmsg: errorResponse?.errmsg ?? null }, events });
  }
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const message = JSON.parse(line);
    if (answered) {
      const resolve = answered;
      answered = null;
      resolve(message);
    } else {
      carryOut(message);
    }
  })
  .on('close', () => process.exit(0));

say({ version });
