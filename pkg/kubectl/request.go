// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/uuid"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	typed "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/view"
)

// call calls the subresource of a verb once.
type call func(ctx context.Context, rollouts typed.RolloutInterface, name string, request v1alpha1.VerbRequest, options metav1.CreateOptions) (v1alpha1.VerbStatus, error)

// perform calls a verb and prints what the server says that it did.
func (p *plugin) perform(ctx context.Context, name string, v verb, flags *requestFlags) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	rollouts := c.sluice.SluiceV1alpha1().Rollouts(c.namespace)
	// The same ID goes with the second attempt, so that the server does nothing twice.
	request := v1alpha1.VerbRequest{Expect: flags.expectation(), RequestID: string(uuid.NewUUID()), Reason: flags.reason}
	if v.looksFirst {
		if request.Expect, err = p.look(ctx, rollouts, name, flags); err != nil {
			return err
		}
	}
	status, err := v.call(ctx, rollouts, name, request, flags.options())
	if ctx.Err() == nil && answerLost(err) {
		fmt.Fprintf(p.ErrOut, "The answer was lost (%v). Asking again, with the same requestID.\n", err)
		status, err = v.call(ctx, rollouts, name, request, flags.options())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.Out, "%s %s%s\n", printed(name), view.Printable(status.Message), flags.suffix())
	return err
}

// look reads what the Rollout is now, and makes that what is expected of it. The flags go before.
func (p *plugin) look(ctx context.Context, rollouts typed.RolloutInterface, name string, flags *requestFlags) (v1alpha1.VerbExpectation, error) {
	expect := flags.expectation()
	r, err := rollouts.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err) && flags.given():
		fmt.Fprintf(p.ErrOut, "%s cannot be looked at first, so only what the flags say is expected of it: %v\n", printed(name), err)
		return expect, nil
	case apierrors.IsForbidden(err):
		return expect, &hinted{err, "A promote is for the step and the revision that the Rollout is at, so it is read first.\n" +
			"That needs the right to get rollouts.sluice.dev, as ClusterRole sluice-viewer gives; or say what to expect: --expect-step, --expect-revision."}
	case err != nil:
		return expect, err
	}
	expect.UID, expect.PodHash = r.UID, r.Status.CurrentPodHash
	if expect.StepIndex == nil {
		expect.StepIndex = r.Status.CurrentStepIndex
	}
	if expect.Revision == nil {
		expect.Revision = &r.Status.Revision
	}
	return expect, nil
}

// answerLost says whether a call may have been performed although it failed. What the server asks to be
// sent again later, the client has sent again already.
func answerLost(err error) bool {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		_, later := apierrors.SuggestsClientDelay(err)
		return !later && fromInBetween(err, answer.Status().Code)
	}
	return err != nil && (utilnet.IsProbableEOF(err) || errors.Is(err, io.ErrUnexpectedEOF) || utilnet.IsConnectionReset(err) ||
		utilnet.IsHTTP2ConnectionLost(err) || utilnet.IsTimeout(err))
}

// fromInBetween says whether an answer comes from something in front of the server, which lost touch with
// it. Servers of the API say in a Status why they are unavailable.
func fromInBetween(err error, code int32) bool {
	switch code {
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	case http.StatusServiceUnavailable:
		return apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
	}
	return false
}
