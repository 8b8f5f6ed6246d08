import type { Engine } from '../../../engine/engine.ts';
import { nameOfBytes } from '../renew-all.ts';
import { type CloudProviders, type CloudWrapping, createCloudWrapping } from './wrapping.ts';

/** By the credentials that each SDK finds for itself. A provider is loaded when a source of its kind is asked. */
const cloudProviders: CloudProviders = {
  aws: async (limits) => (await import('../aws/index.ts')).awsProvider(limits),
  gcp: async (limits) => (await import('../gcp/index.ts')).gcpProvider(limits),
  azure: async (limits) => (await import('../azure/index.ts')).azureProvider(limits),
};

export function openCloudWrapping(engine: Engine): CloudWrapping {
  return createCloudWrapping((secret) => nameOfBytes(engine, secret), cloudProviders);
}
