// Package world is the model of GitHub Actions behind the simulated GitHub: who owns which repository, which workflow
// runs and jobs exist, which runners are registered, and which runner gets which job.
//
// It knows the rules and nothing else: no HTTP, no JSON shapes, no files, no configuration may ever appear here. All
// time comes from package time and all chance from one seed, so that a week of it runs in a testing/synctest bubble in
// seconds and runs the same again. Every exported method is safe for concurrent use and returns copies.
package world
