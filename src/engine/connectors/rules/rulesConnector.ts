import { z } from "zod";
import {
  imageOf,
  type RuleSource,
  ruleAttributes,
  ruleObjectType,
  textHash,
} from "../../core/ruleDocuments.ts";
import {
  type AbsenceVerdict,
  type Connector,
  type ConnectorDefinition,
  ConnectorError,
  type ImportEntry,
  type ImportPage,
  type ImportStart,
  type ObjectTypeSchema,
} from "../../ports/connector.ts";

export const rulesSettingsSchema = z.strictObject({});

/** What the watermark remembers: the set, and the text of each rule, hashed. */
interface Watermark {
  readonly set: string;
  readonly rules: Readonly<Record<string, string>>;
}

/**
 * The rules of the deployment as a connected directory: its objects are rules, and synchronising them checks and
 * activates the whole set. Nothing is ever exported to it.
 */
export class RulesConnector implements Connector {
  readonly capabilities = {
    deltaImport: true,
    export: false,
    exportBatchMax: 1,
    exportTimeoutMs: 0,
    dnSyntax: "exact",
  } as const;
  readonly scopeHash = "rules";
  readonly #read: () => Promise<RuleSource>;

  /** @throws ConnectorError "configuration" when the definition does not select what rules are made of. */
  constructor(definition: ConnectorDefinition, read: () => Promise<RuleSource>) {
    assertRuleAttributes(definition);
    this.#read = read;
  }

  async schema(): Promise<readonly ObjectTypeSchema[]> {
    const attributes = new Map(
      [...ruleAttributes].map(([name, type]) => [
        name,
        { name, type, multiValued: false, syntax: "exact" as const },
      ]),
    );
    return [{ name: ruleObjectType, attributes }];
  }

  async *importPages(start: ImportStart): AsyncGenerator<ImportPage> {
    const source = await this.#read();
    const before: Watermark | null = start.kind === "delta" ? JSON.parse(start.watermark) : null;
    const rules = Object.fromEntries(
      source.documents.map(({ name, file, text }) => [name, textHash(file + text)]),
    );
    const changed = source.documents.filter(({ name }) => before?.rules[name] !== rules[name]);
    const absent = Object.keys(before?.rules ?? {}).filter((name) => rules[name] === undefined);
    const entries: ImportEntry[] = [
      ...changed.map((document) => ({
        kind: "object" as const,
        anchor: document.name,
        image: imageOf(document),
      })),
      ...absent.map((anchor) => ({ kind: "absent" as const, anchor, absence: "deleted" as const })),
    ];
    const watermark: Watermark = { set: source.set, rules };
    yield {
      entries,
      resumeAt: null,
      complete: { watermark: JSON.stringify(watermark), sourceCount: source.documents.length },
    };
  }

  async readAbsent(anchors: readonly string[]): Promise<readonly AbsenceVerdict[]> {
    const documents = new Map((await this.#read()).documents.map((document) => [document.name, document]));
    return anchors.map((anchor) => {
      const document = documents.get(anchor);
      return document === undefined
        ? { kind: "gone", absence: "deleted" }
        : { kind: "present", image: imageOf(document) };
    });
  }

  async exportBatch(): Promise<never> {
    throw new Error("Nothing is exported to the rules. This is a bug in the engine.");
  }

  async ping(): Promise<void> {
    await this.#read();
  }

  async close(): Promise<void> {}
}

/** @throws ConnectorError "configuration" */
export function assertRuleAttributes({ name, objectTypes }: ConnectorDefinition): void {
  const selected = objectTypes.find((type) => type.name === ruleObjectType)?.attributes ?? [];
  if (!selected.includes("file") || !selected.includes("document"))
    throw new ConnectorError(
      "configuration",
      `Connector ${name} must select the object type ${ruleObjectType} with its attributes file and document: rules are made of them.`,
    );
}
