"""Phase 4, the cutover (strategy §6, §8): stages, gates, promotion on evidence, the guard, the ways back by flags."""
