/**
 * Writes the JSON Schemas of the configuration's files to config/schemas; editors complete and check with them.
 * `npm run format` afterwards. `test/fast/configuration.test.ts` fails when they are older than the shapes they are
 * made of.
 */
import { writeFileSync } from "node:fs";
import { editorSchemas } from "../src/engine/core/configurationSchema.ts";

for (const [name, schema] of Object.entries(editorSchemas()))
  writeFileSync(`config/schemas/${name}.json`, `${JSON.stringify(schema, null, 2)}\n`);
