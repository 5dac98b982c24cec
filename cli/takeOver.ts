/** Reads an export of Entra Connect or MIM, and writes what src/engine/takeover makes of it. */
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { guid } from "../src/engine/takeover/exportedRule.ts";
import { TakeoverError } from "../src/engine/takeover/findings.ts";
import { reportOf } from "../src/engine/takeover/report.ts";
import { type ExportFile, takeOver } from "../src/engine/takeover/takeover.ts";
import { ImportError, type ImportOptions } from "./rulesImport.ts";

const limits = { fileBytes: 64 * 1024 * 1024, files: 5000, totalBytes: 512 * 1024 * 1024 };

/** @throws ImportError */
export function importRules(path: string, { out, report, connector, force }: ImportOptions): void {
  const takeover = readTakeover(path, new Map([...connector].map(([id, name]) => [guid(id), name])));
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
