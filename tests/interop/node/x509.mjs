// MongoDB's driver for Node logs in by MONGODB-X509, and says who it is to the server.
//
// Called with the folder of the packages, a URI, and the driver's options in JSON. Prints one
// line of JSON: what connectionStatus answers, or how it failed.

import { createRequire } from 'node:module';
import { join } from 'node:path';

const [folder, uri, options] = process.argv.slice(2);
const { MongoClient } = createRequire(join(folder, 'package.json'))('mongodb');

const client = new MongoClient(uri, {
  serverSelectionTimeoutMS: 5000,
  ...JSON.parse(options),
});
let said;
try {
  const status = await client.db('admin').command({ connectionStatus: 1 });
  said = status.authInfo;
} catch (error) {
  said = { failed: error.constructor.name, code: error.code ?? null, message: error.message };
} finally {
  await client.close();
}
console.log(JSON.stringify(said));
