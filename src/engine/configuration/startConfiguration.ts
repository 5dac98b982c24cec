import { type Configuration, ConfigurationError } from "../core/configuration.ts";
import { compileRuleTexts, type Deployment } from "../core/readRules.ts";
import { StoreError, type Tables } from "../ports/tables.ts";
import { RulesStore } from "../stores/rules.ts";

/**
 * What a process begins with: the rules of the files; when they do not check, those that were activated last. The
 * tables are asked in that case only.
 * @throws ConfigurationError when the files do not check and nothing was ever activated, or the tables cannot tell
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
    const last = await lastActivated(new RulesStore(tables), log);
    if (last === null) throw error;
    const configuration = compileRuleTexts(last.texts, deployment);
    log(`The rules do not check; version ${last.version} stays active.\n${error.message}`);
    return configuration;
  }
}

async function lastActivated(store: RulesStore, log: (message: string) => void) {
  try {
    const { active } = (await store.head()).head;
    const texts = active === null ? null : await store.texts(active.set);
    return texts === null ? null : { version: active!.version, texts };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    // The mistake in the rules is what a person can mend; the host starts the app again in any case.
    log(`Whether older rules are active could not be read: ${error.message}`);
    return null;
  }
}
