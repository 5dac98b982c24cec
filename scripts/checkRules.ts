/**
 * `npm run rules check [-- --config DIR] [--live]`: all that is wrong with the configuration, each problem with file,
 * line, column, the line itself and what to do. Without `--live` nothing is asked but the files; with it the connected
 * directories are asked for their schemas, and every app setting must be there.
 * Exit codes: 0 no error (warnings are allowed), 1 errors, 2 wrong arguments.
 */
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { localSettings } from "../sandbox/host/settings.ts";
import { connectorKinds, openConnector } from "../src/connectors.ts";
import {
  type CheckedConfiguration,
  checkConfiguration,
  type ReadSchema,
  renderConfigurationProblem,
} from "../src/engine/configuration/checkConfiguration.ts";
import { configurationFiles } from "../src/engine/configuration/loadConfiguration.ts";
import { extensionModules } from "../src/engine/configuration/loadExtensions.ts";
import {
  ConfigurationError,
  type ConfigurationFile,
  describeProblem,
} from "../src/engine/core/configuration.ts";

const usage = "npm run rules check [-- --config DIR] [--live]";

/** A mistake in the arguments; the message is for the person who made it. */
class UsageError extends Error {}

try {
  process.exitCode = await main();
} catch (error) {
  const isArgument = (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS") === true;
  if (!(error instanceof UsageError) && !isArgument) throw error;
  console.error(`${(error as Error).message}\n${usage}`);
  process.exitCode = 2;
}

async function main(): Promise<number> {
  const { values: options, positionals } = parseArgs({
    allowPositionals: true,
    options: { config: { type: "string" }, live: { type: "boolean", default: false } },
  });
  if (positionals.join(" ") !== "check")
    throw new UsageError("The one thing that can be done here is check.");
  const settings = { ...localSettings(process.cwd()), ...process.env };
  const folder = options.config ?? settings.CONFIG_DIR ?? "config";
  const files = filesOf(folder);
  if (files === null) return 1;
  const checked = await checkConfiguration(
    files,
    settings,
    connectorKinds,
    options.live ? readSchema : null,
    extensionModules(folder),
  );
  for (const problem of checked.errors) console.error(renderConfigurationProblem("error", problem, files));
  for (const problem of checked.warnings)
    console.error(renderConfigurationProblem("warning", problem, files));
  console.log(summaryOf(checked).join("\n"));
  return checked.errors.length > 0 ? 1 : 0;
}

/** With paths that lead to the files from here; null when the folder cannot be read, which is told. */
function filesOf(folder: string): readonly ConfigurationFile[] | null {
  try {
    return configurationFiles(folder).map(({ file, text }) => ({
      file: `${folder}/${file.slice(basename(folder).length + 1)}`,
      text,
    }));
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    for (const problem of error.problems) console.error(describeProblem(problem));
    return null;
  }
}

const readSchema: ReadSchema = async (definition) => {
  const connector = openConnector(definition);
  try {
    return await connector.schema();
  } finally {
    await connector.close();
  }
};

function summaryOf({ configuration, errors, warnings, unset, typed }: CheckedConfiguration): string[] {
  const lines = [`${counted(errors.length, "error")}, ${counted(warnings.length, "warning")}.`];
  if (configuration !== null) {
    const { rules, connectors, metaverse, cycles } = configuration;
    const flows = rules.rules.reduce((sum, rule) => sum + rule.flows.length, 0);
    lines.push(
      `Checked: ${counted(rules.rules.length, "enabled rule")} with ${counted(flows, "flow")}, ${counted(connectors.size, "connector")}, ${counted(metaverse.size, "metaverse object type")}, ${counted(cycles.size, "cycle")}.`,
    );
    for (const name of connectors.keys())
      lines.push(
        typed.has(name)
          ? `Attributes of ${name}: against ${typed.get(name)}.`
          : `Attributes of ${name}: against those selected, without types; --live asks the directory.`,
      );
  }
  if (unset.length > 0) lines.push(`Not set here, so their values were not checked: ${unset.join(", ")}.`);
  return lines;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
