import { type Configuration, ConfigurationError } from "../core/configuration.ts";
import { compileRuleTexts, type Deployment } from "../core/readConfiguration.ts";
import type { Tables } from "../ports/tables.ts";
import { RulesStore } from "../stores/rules.ts";

/**
 * What a process begins with: the rules of the files; when they do not check, those that were activated last. The
 * tables are asked in that case only.
 * @throws ConfigurationError when the files do not check and nothing was ever activated; StoreError
 */
export async function startConfiguration(
  deployment: Deployment,
  rulesConnector: string,
  tables: Tables,
  log: (message: string) => void,
): Promise<Configuration> {
  try {
    return compileRuleTexts(deployment.ruleTexts, deployment);
  } catch (error) {
    const hasConnector = [...deployment.connectors.values()].some(({ kind }) => kind === rulesConnector);
    if (!(error instanceof ConfigurationError) || !hasConnector) throw error;
    const store = new RulesStore(tables);
    const { active } = (await store.head()).head;
    const texts = active === null ? null : await store.texts(active.set);
    if (texts === null) throw error;
    const configuration = compileRuleTexts(texts, deployment);
    log(`The rules do not check; version ${active!.version} stays active.\n${error.message}`);
    return configuration;
  }
}
