/** `npm run vestibule -- rules import <folder or file>`: the command; the readers are loaded only when it is given. */
import { type Command, InvalidArgumentError } from "commander";

export interface ImportOptions {
  readonly out: string;
  readonly report?: string;
  /** Our connector's name, by the identifier that it has in the export. */
  readonly connector: ReadonlyMap<string, string>;
  readonly force?: boolean;
}

/** What an administrator can do something about; told without a stack. */
export class ImportError extends Error {}

export function addRulesImport(program: Command): void {
  program
    .command("rules")
    .description("rules: take over those of other products, compare changed ones with the active ones")
    .command("import <folderOrFile>")
    .description("take over the rules of an Entra Connect or MIM installation from its export")
    .option("--out <folder>", "where connectors, rules and metaverse.yaml are written", "taken-over")
    .option("--report <file>", "where the report is written (default: REPORT.md in the folder)")
    .option(
      "--connector <id=name>",
      "a connector that you have already: its identifier in the export, its name here; can be repeated",
      connectorName,
    )
    .option("--force", "write over files that are there")
    .action(async (path: string, options: Omit<ImportOptions, "connector"> & Partial<ImportOptions>) => {
      const { importRules } = await import("./takeOver.ts");
      importRules(path, { ...options, connector: options.connector ?? new Map() });
    });
}

function connectorName(
  text: string,
  before: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, string> {
  const [, identifier, name] = /^([^=]+)=([A-Za-z0-9][A-Za-z0-9_-]{0,62})$/.exec(text) ?? [];
  if (identifier === undefined || name === undefined)
    throw new InvalidArgumentError("Write it as b891884f-051e-4a83-95af-2544101c9083=AADMA.");
  return new Map([...before, [identifier, name]]);
}
