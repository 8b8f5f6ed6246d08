import { collectServices } from './collected.ts';

// The first half of the paths through whole services; all-services.ts has the other.
collectServices((file) => /^path\/[a-l]/.test(file));
