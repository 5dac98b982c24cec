/** Reads the configuration from its folder. */
import type { Configuration, SettingsSchema } from "../core/configuration.ts";

/**
 * @param folder CONFIG_DIR; relative to the working directory, or absolute
 * @throws ConfigurationError
 */
export declare function loadConfiguration(
  folder: string,
  settings: Readonly<Record<string, string | undefined>>,
  kinds: ReadonlyMap<string, SettingsSchema>,
): Configuration;
