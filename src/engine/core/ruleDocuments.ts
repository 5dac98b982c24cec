/**
 * Rules as documents: what the rules connector imports. A rule is a file of `config/rules`, or an edit that was made
 * through the API; its name is its anchor.
 */
import { z } from "zod";
import type { ConfigurationFile } from "./configuration.ts";
import { ruleFile } from "./configurationSchema.ts";
import type { Image } from "./model.ts";
import { ruleSetHash, shortHash } from "./ruleVersions.ts";
import type { Attributes, AttributeType } from "./values.ts";
import { YamlFile } from "./yamlFile.ts";

/** The kind of the connector whose objects are rules. */
export const rulesConnectorKind = "rules";

export interface RuleDocument extends ConfigurationFile {
  /** The rule's name; where it cannot be read, that of the file. */
  readonly name: string;
  readonly origin: "file" | "edit";
}

/** What a set of rules is made of at one moment. */
export interface RuleSource {
  /** The set's hash. */
  readonly set: string;
  readonly documents: readonly RuleDocument[];
  /** A version was rolled back to: it stands for the files and edits until they change. */
  readonly pinned: boolean;
}

/** An edit of one rule: it stands for the file of that rule for as long as the file is what it was made over. */
export interface DocumentEdit {
  readonly name: string;
  /** Null: deleted. */
  readonly text: string | null;
  /** `textHash` of the file that it was made over; null when no file had this rule. */
  readonly over: string | null;
}

export const textHash = (text: string): string => shortHash(text);

/** The folder in the names of edited rules, where a file has that of the configuration. */
const editedFolder = "edited";
export const editedFile = (name: string): string => `${editedFolder}/${name.replaceAll("/", "-")}.yaml`;

/** Rules of the same name stay apart, so that the checker can tell of both. */
export function documentsOf(texts: readonly ConfigurationFile[]): readonly RuleDocument[] {
  const taken = new Set<string>();
  return texts.map(({ file, text }) => {
    const origin = file.startsWith(`${editedFolder}/`) ? "edit" : "file";
    let name = nameIn({ file, text });
    if (taken.has(name)) name = file;
    taken.add(name);
    return { name, file, text, origin };
  });
}

function nameIn(source: ConfigurationFile): string {
  const { content } = new YamlFile(source);
  const read = (content as { name?: unknown } | null | undefined)?.name;
  // A file that is broken elsewhere is still the rule that it was.
  const guessed = /^name:[ \t]*["']?([^"'\r\n#]+)/m.exec(source.text)?.[1];
  const name = typeof read === "string" ? read : (guessed ?? "");
  return name.trim().slice(0, 200) || source.file;
}

/** An edit whose file has changed since counts no more. */
export function countsOver(files: readonly RuleDocument[], { name, over }: DocumentEdit): boolean {
  const below = files.find((document) => document.name === name);
  return (below === undefined ? null : textHash(below.text)) === over;
}

/** The files with those edits over them that count. */
export function withEdits(
  files: readonly RuleDocument[],
  edits: readonly DocumentEdit[],
): readonly RuleDocument[] {
  const documents = new Map(files.map((document) => [document.name, document]));
  for (const { name, text } of edits.filter((edit) => countsOver(files, edit))) {
    if (text === null) documents.delete(name);
    else documents.set(name, { name, file: editedFile(name), text, origin: "edit" });
  }
  return [...documents.values()];
}

export function sourceOf(documents: readonly RuleDocument[], pinned = false): RuleSource {
  return { set: ruleSetHash(documents), documents, pinned };
}

// ---- as connector space objects ----------------------------------------------------------------------------------

export const ruleObjectType = "synchronizationRule";

/** The attributes of a rule. `document` is its whole text, and `file` its name: the set is made of these two. */
export const ruleAttributes: ReadonlyMap<string, AttributeType> = new Map<string, AttributeType>([
  ["name", "string"],
  ["description", "string"],
  ["direction", "string"],
  ["connector", "string"],
  ["connectorObjectType", "string"],
  ["metaverseObjectType", "string"],
  ["linkType", "string"],
  ["precedence", "integer"],
  ["enabled", "boolean"],
  ["origin", "string"],
  ["file", "string"],
  ["document", "string"],
]);

// What a document says, whether or not the rule is right as a whole.
const summary = z.object({
  description: z.string().optional().catch(undefined),
  direction: ruleFile.shape.direction.optional().catch(undefined),
  connector: z.string().optional().catch(undefined),
  connectorObjectType: z.string().optional().catch(undefined),
  metaverseObjectType: z.string().optional().catch(undefined),
  linkType: ruleFile.shape.linkType.optional().catch(undefined),
  precedence: z.int().transform(BigInt).optional().catch(undefined),
  enabled: z.boolean().default(true).catch(true),
});

export function imageOf({ name, file, text, origin }: RuleDocument): Image {
  const { content } = new YamlFile({ file, text });
  const read = summary.safeParse(content);
  const attributes = Object.entries({
    ...(read.success ? read.data : {}),
    ...{ name, origin, file, document: text },
  }).filter(([, value]) => value !== undefined);
  return { objectType: ruleObjectType, dn: name, attributes: Object.fromEntries(attributes) as Attributes };
}

/** The text that the image was made of. */
export function textOf({ attributes }: Image): ConfigurationFile {
  return { file: String(attributes.file), text: String(attributes.document) };
}
