package fleet_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errGone = status.Error(codes.NotFound, "Image not found")

func TestWhatSandboxesStartFromIsMadeAgainWhenItIsGoneAtModal(t *testing.T) {
	for name, test := range map[string]struct {
		lost, app string
		err       error
	}{
		"the App was deleted":   {"ap-1", "ap-2", status.Error(codes.NotFound, "App ap-1 not found")},
		"the App was stopped":   {"ap-1", "ap-2", status.Error(codes.FailedPrecondition, "App state is APP_STATE_STOPPED")},
		"the image was deleted": {"im-3", "ap-1", status.Error(codes.NotFound, "Image im-3 not found")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			defer r.keep(t, "2.330.0")()
			r.awaitImages(t, 1)
			if _, err := r.create(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			r.see(func() { r.gone[test.lost] = test.err })
			_, err := r.create(t.Context(), 2)
			if !isLackOfImage(err, 0) || !strings.Contains(err.Error(), test.lost) {
				t.Errorf("create = %v, want a limit that says what is lost", err)
			}
			if err := r.fleet.Ready(somePool()); !isLackOfImage(err, time.Second) {
				t.Errorf("ready: %v, want a short limit", err)
			}
			r.wantPaused(t, 1)
			r.awaitImages(t, 2)
			if _, err := r.create(t.Context(), 3); err != nil {
				t.Errorf("after it was made again: %v", err)
			}
			r.see(func() {
				last := r.creates[len(r.creates)-1]
				if last.GetAppId() != test.app || last.GetDefinition().GetImageId() != "im-6" {
					t.Errorf("the sandbox starts from %s in %s", last.GetDefinition().GetImageId(), last.GetAppId())
				}
			})
			if log := r.log.String(); strings.Count(log, "image not built") != 1 {
				t.Errorf("the loss was not logged, once: %s", log)
			}
		})
	}
}

func TestAnImageThatIsLostAgainAndAgainIsMadeWithGrowingPauses(t *testing.T) {
	r := newRig(t, nil)
	r.see(func() {
		for _, id := range []string{"im-3", "im-6", "im-9"} {
			r.gone[id] = errGone
		}
	})
	defer r.keep(t, "2.330.0")()
	began := time.Now()
	for images := 1; images <= 3; images++ {
		r.awaitImages(t, images)
		if _, err := r.create(t.Context(), images); err == nil {
			t.Fatal("created")
		}
	}
	if took := time.Since(began); took < 3*time.Second { // One and two: the first pauses after a build that failed.
		t.Errorf("made twice again within %v", took)
	}
}

func TestARefusalThatIsAboutSomethingElseHasNoImageMadeAnew(t *testing.T) {
	for _, code := range []codes.Code{codes.NotFound, codes.FailedPrecondition} {
		r := newRig(t, nil)
		defer r.keep(t, "2.330.0")()
		r.awaitImages(t, 1)
		r.failing("SandboxCreateV2", 5, status.Error(code, "Volume vo-1 is not what it should be"))
		for attempt := 1; attempt <= 5; attempt++ {
			if _, err := r.create(t.Context(), attempt); meaning(err) != "refused" {
				t.Errorf("%s, want refused: %v", meaning(err), err)
			}
		}
		if _, err := r.create(t.Context(), 6); err != nil {
			t.Errorf("another pool's sandbox, from the same image: %v", err)
		}
		r.see(func() {
			if len(r.layers) != layersOfAnImage {
				t.Errorf("%d layers were built, want %d", len(r.layers), layersOfAnImage)
			}
		})
	}
}

func TestWhileItIsNotKnownWhetherAnImageIsThereItIsKept(t *testing.T) {
	r := newRig(t, nil)
	defer r.keep(t, "2.330.0")()
	r.awaitImages(t, 1)
	r.see(func() {
		r.fail = func(method string) error {
			switch method {
			case "SandboxCreateV2":
				return status.Error(codes.NotFound, "not found")
			case "ImageFromId":
				return status.Error(codes.DataLoss, "boom")
			}
			return nil
		}
	})
	if _, err := r.create(t.Context(), 1); meaning(err) != "not made" {
		t.Errorf("%s, want not made: %v", meaning(err), err)
	}
	if err := r.fleet.Ready(somePool()); err != nil {
		t.Errorf("ready: %v", err)
	}
}
