/** Reads the configuration from its folder: when the app starts, and its rules again at every import of them. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
  type SettingsSchema,
} from "../core/configuration.ts";
import { readDeployment } from "../core/readConfiguration.ts";
import { compileRuleTexts, type Deployment } from "../core/readRules.ts";
import { extensionModules } from "./loadExtensions.ts";

/**
 * Everything but the rules, which the rules connector checks.
 * @param folder CONFIG_DIR, resolved
 * @param settings the app settings, as in `process.env`
 * @throws ConfigurationError
 */
export function loadDeployment(
  folder: string,
  settings: Readonly<Record<string, string | undefined>>,
  kinds: ReadonlyMap<string, SettingsSchema>,
): Deployment {
  const files = configurationFiles(folder);
  return readDeployment(files, settings, kinds, () => undefined, extensionModules(folder));
}

/** As `loadDeployment`, with the rules of the files. @throws ConfigurationError */
export function loadConfiguration(...parameters: Parameters<typeof loadDeployment>): Configuration {
  const deployment = loadDeployment(...parameters);
  return compileRuleTexts(deployment.ruleTexts, deployment);
}

/** The texts of the rules as they are now: what has changed since the app started counts. @throws ConfigurationError */
export function ruleFiles(folder: string): readonly ConfigurationFile[] {
  return yamlFiles(folder, "rules");
}

/** @throws ConfigurationError when the folder cannot be read */
export function configurationFiles(folder: string): readonly ConfigurationFile[] {
  return ["connectors", "rules", "cycles", "."].flatMap((part) => yamlFiles(folder, part));
}

function yamlFiles(folder: string, part: string): ConfigurationFile[] {
  const path = join(folder, part);
  try {
    return readdirSync(path)
      .filter((name) => /\.ya?ml$/.test(name))
      .sort()
      .map((name) => ({
        file: [basename(folder), ...(part === "." ? [] : [part]), name].join("/"),
        text: readFileSync(join(path, name), "utf8"),
      }));
  } catch (error) {
    // A missing part is told by what is missing in it; a missing folder is a wrong CONFIG_DIR.
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    if (isMissing && part !== ".") return [];
    const problem = {
      file: path,
      line: 0,
      column: 0,
      message: isMissing
        ? "The folder of the configuration does not exist."
        : `It cannot be read (${(error as Error).message}).`,
      remedy: "Set CONFIG_DIR to the folder with connectors, rules, cycles and metaverse.yaml.",
    };
    throw new ConfigurationError([problem]);
  }
}
