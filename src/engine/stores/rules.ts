import type { ConfigurationFile } from "../core/configuration.ts";
import type { Tables } from "../ports/tables.ts";
import { tableNames } from "./tableNames.ts";
import { chunked, decodeText, encodeTexts } from "./texts.ts";

const partition = "versions";

/** Rule sets by version. A version is a hash of its texts, so it never changes. */
export class RulesStore {
  readonly #tables: Tables;
  readonly #known = new Set<string>();

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  async add(version: string, texts: readonly ConfigurationFile[], at: string): Promise<void> {
    if (this.#known.has(version)) return;
    if ((await this.#tables.get(tableNames.rules, partition, version)) === undefined) {
      const { properties, spillRows } = encodeTexts(version, { texts: JSON.stringify(texts) });
      for (const chunk of chunked(spillRows, () => 1, 50))
        await this.#tables.transact(tableNames.rules, partition, chunk);
      await this.#tables.transact(tableNames.rules, partition, [
        { kind: "replace", row: version, properties: { ...properties, storedAt: at } },
      ]);
    }
    this.#known.add(version);
  }

  async get(version: string): Promise<readonly ConfigurationFile[] | null> {
    const row = await this.#tables.get(tableNames.rules, partition, version);
    const texts = row === undefined ? null : await decodeText(this.#tables, tableNames.rules, row, "texts");
    return texts === null ? null : JSON.parse(texts);
  }
}
