package wire

const (
	// DefaultPool is the pool that exists without a pools file.
	DefaultPool = "default"
	// DefaultLabel is the label whose jobs go to DefaultPool. Like all labels of GitHub it is compared without case.
	DefaultLabel = "modal"
)
