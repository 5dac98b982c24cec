/** The rule files of a folder, as the API takes rules that are only tried out. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { ImportError } from "./rulesImport.ts";

export interface RuleText {
  readonly file: string;
  readonly text: string;
}

/** @param folder one of rule files, or a configuration folder with `rules` in it @throws ImportError */
export function readRuleFolder(folder: string): readonly RuleText[] {
  const inside = join(folder, "rules");
  const rules = existsSync(inside) && statSync(inside).isDirectory() ? inside : folder;
  if (!existsSync(rules) || !statSync(rules).isDirectory())
    throw new ImportError(`There is no folder ${folder}. Name the folder that holds the changed rules.`);
  const files = readdirSync(rules)
    .filter((name) => /\.ya?ml$/.test(name))
    .sort();
  if (files.length === 0)
    throw new ImportError(`${rules} has no rule files. A rule is a file such as AAD-B2B-IN.yaml.`);
  return files.map((name) => ({
    file: `rules/${basename(name)}`,
    text: readFileSync(join(rules, name), "utf8"),
  }));
}
