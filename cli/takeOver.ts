/**
 * `npm run vestibule -- rules import <folder or file>`: reads an export of Entra Connect or MIM, and writes what
 * src/engine/takeover makes of it. The only part of it that touches files.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { entraConnectorIdentifier } from "../src/engine/takeover/connector.ts";
import { guid } from "../src/engine/takeover/exportedRule.ts";
import { TakeoverError } from "../src/engine/takeover/findings.ts";
import { reportOf } from "../src/engine/takeover/report.ts";
import { type ExportFile, takeOver } from "../src/engine/takeover/takeover.ts";

interface ImportOptions {
  readonly out: string;
  readonly report?: string;
  readonly connector: ReadonlyMap<string, string>;
  readonly force?: boolean;
}

/** What an administrator can do something about; told without a stack. */
export class ImportError extends Error {}

const limits = { fileBytes: 64 * 1024 * 1024, files: 5000, totalBytes: 512 * 1024 * 1024 };

export function addRulesImport(program: Command): void {
  program
    .command("rules")
    .description("rules of other products")
    .command("import <folderOrFile>")
    .description("take over the rules of an Entra Connect or MIM installation from its export")
    .option("--out <folder>", "where connectors, rules and metaverse.yaml are written", "taken-over")
    .option("--report <file>", "where the report is written (default: REPORT.md in the folder)")
    .option(
      "--connector <id=name>",
      "a connector that you have already: its identifier in the export, its name here; can be repeated",
      connectorName,
      new Map<string, string>(),
    )
    .option("--force", "write over files that are there")
    .action((path: string, options: ImportOptions) => importRules(path, options));
}

function connectorName(text: string, before: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const [, identifier, name] = /^([^=]+)=([A-Za-z0-9][A-Za-z0-9_-]{0,62})$/.exec(text) ?? [];
  if (identifier === undefined || name === undefined)
    throw new InvalidArgumentError(`Write it as ${entraConnectorIdentifier}=AADMA.`);
  return new Map([...before, [guid(identifier), name]]);
}

function importRules(path: string, { out, report, connector, force }: ImportOptions): void {
  const takeover = readTakeover(path, connector);
  if (takeover.rules.length === 0 && takeover.files.length === 0) {
    throw new ImportError(
      `There is no export of rules in ${path}. What is read: the folder of Get-ADSyncServerConfiguration, New-ADSyncRule scripts, MIM's policy.xml, MV.XML and MA-*.XML.`,
    );
  }
  const reportFile = report ?? join(out, "REPORT.md");
  const files = [
    ...takeover.files.map(({ file, text }) => ({ path: join(out, file), text })),
    { path: reportFile, text: reportOf(takeover) },
  ];
  const existing = force ? [] : files.filter((file) => exists(file.path));
  if (existing.length > 0) {
    throw new ImportError(
      `${existing[0]!.path} is there already${existing.length > 1 ? `, and ${existing.length - 1} more` : ""}. Name another folder with --out, or write over them with --force.`,
    );
  }
  for (const file of files) {
    mkdirSync(dirname(file.path), { recursive: true });
    writeFileSync(file.path, file.text);
  }
  const decisions = takeover.findings.filter(({ kind }) => kind === "decision").length;
  const disabled = takeover.rules.filter(({ enabled }) => !enabled).length;
  console.log(
    `${takeover.rules.length} rules${disabled > 0 ? ` (${disabled} disabled)` : ""}, ${takeover.connectors.length} connectors in ${out}. ${decisions === 1 ? "1 decision is" : `${decisions} decisions are`} needed: ${reportFile}`,
  );
}

function readTakeover(path: string, connectors: ReadonlyMap<string, string>) {
  try {
    return takeOver(readExport(path), { connectors });
  } catch (error) {
    if (error instanceof TakeoverError) throw new ImportError(error.message);
    throw error;
  }
}

/** Symbolic links are not followed: what they lead to is no part of the export. */
function readExport(path: string): readonly ExportFile[] {
  if (!exists(path)) throw new ImportError(`${path} does not exist.`);
  if (lstatSync(path).isFile()) return [readFile(path, basename(path))];
  const files: ExportFile[] = [];
  let bytes = 0;
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(xml|ps1|psm1|json)$/i.test(entry.name)) continue;
    const file = join(entry.parentPath, entry.name);
    bytes += lstatSync(file).size;
    if (files.length >= limits.files || bytes > limits.totalBytes)
      throw new ImportError(
        `${path} holds more than ${limits.files} files or ${limits.totalBytes} bytes. Name the folder of the export alone.`,
      );
    files.push(readFile(file, file));
  }
  return files;
}

function readFile(path: string, file: string): ExportFile {
  if (lstatSync(path).size > limits.fileBytes)
    throw new ImportError(`${file} is larger than ${limits.fileBytes} bytes.`);
  return { file, text: decode(readFileSync(path), file) };
}

/** UTF-8, or UTF-16 as PowerShell on Windows writes it. */
function decode(bytes: Uint8Array, file: string): string {
  const encoding =
    bytes[0] === 0xff && bytes[1] === 0xfe
      ? "utf-16le"
      : bytes[0] === 0xfe && bytes[1] === 0xff
        ? "utf-16be"
        : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    // The decoder says only that it failed.
    throw new ImportError(`${file} is neither UTF-8 nor UTF-16 with a byte order mark. Save it as UTF-8.`);
  }
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
